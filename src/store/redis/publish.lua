-- ARGV[3]: the longest lifetime of an entry in seconds. ARGV[4]: the most entries. The rest: entries.
local oldest_kept = now - tonumber(ARGV[3]) * 1000
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if first and parts(first[1]) < oldest_kept then
  local id = string.format('%.0f-0', oldest_kept)
  remove_before(id, id)
end
if redis.call('XLEN', KEYS[2]) + #ARGV - 4 > tonumber(ARGV[4]) then
  return 0
end
for at = 5, #ARGV do
  redis.call('XADD', KEYS[2], '*', 'i', ARGV[at])
end
return 1
