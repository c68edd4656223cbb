-- ARGV[4]: 20 digits of the new expiry time. ARGV[5]: the TTL in seconds. ARGV[6]: how the value must begin.
if again then
  return 1
end
if not lives or string.sub(value, 1, #ARGV[6]) ~= ARGV[6] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[4] .. ARGV[2] .. value, 'EX', ARGV[5])
return 1
