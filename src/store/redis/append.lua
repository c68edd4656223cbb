-- ARGV[4]: what to append. ARGV[5]: 20 digits of the expiry time. ARGV[6]: the TTL in seconds.
if again then
  return value
end
local appended = (lives and value or '') .. ARGV[4]
if #appended + 52 > tonumber(ARGV[3]) then
  return -2
end
redis.call('SET', KEYS[1], ARGV[5] .. ARGV[2] .. appended, 'EX', ARGV[6])
return appended
