-- ARGV[4]: the new entry. ARGV[5]: its TTL in seconds. ARGV[6]: the expected value.
if again then
  return 1
end
if not lives or value ~= ARGV[6] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[5])
return 1
