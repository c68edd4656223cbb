-- ARGV[4]: the expected value. An expired entry stays, so that a repeated call is recognized.
if again then
  return 1
end
if not lives or value ~= ARGV[4] then
  return 0
end
local written = redis.pcall('SET', KEYS[1], string.rep('0', 20) .. ARGV[2], 'EX', 60)
if type(written) == 'table' and written['err'] then
  redis.call('DEL', KEYS[1])
end
return 1
