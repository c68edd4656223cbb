-- ARGV[4]: the value that has to be there. What is left is an entry that has ended, so that the same call knows itself.
if again then
  return 1
end
if not lives or value ~= ARGV[4] then
  return 0
end
local left = redis.pcall('SET', KEYS[1], string.rep('0', 20) .. ARGV[2], 'EX', 60)
if type(left) == 'table' and left['err'] then
  redis.call('DEL', KEYS[1])
end
return 1
