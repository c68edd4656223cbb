-- ARGV[4]: the new entry. ARGV[5]: its TTL in seconds.
if again then
  return 0
end
if lives then
  return value
end
redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[5])
return 0
