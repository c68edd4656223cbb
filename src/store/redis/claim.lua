-- KEYS[2], KEYS[3]: entries to read after the claim. ARGV[4]: the new entry. ARGV[5]: its TTL in seconds.
local reply = { 0 }
if lives and not again then
  reply[1] = value
elseif not again then
  redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[5])
end
for at = 2, #KEYS do
  reply[at] = redis.call('GETRANGE', KEYS[at], 0, ARGV[3])
end
return reply
