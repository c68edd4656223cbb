-- ARGV[3]: for how many seconds anything matters at most. ARGV[4]: most items. ARGV[5]: the item.
local oldest = (tonumber(redis.call('TIME')[1]) - tonumber(ARGV[3])) * 1000
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if first and parts(first[1]) < oldest then
  local id = string.format('%.0f-0', oldest)
  remove_before(id, id)
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('XADD', KEYS[2], '*', 'i', ARGV[5])
return 1
