-- ARGV[4]: the new entry. ARGV[5]: seconds to keep it. ARGV[6]: the value that has to be there.
if again then
  return 1
end
if not lives or value ~= ARGV[6] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[5])
return 1
