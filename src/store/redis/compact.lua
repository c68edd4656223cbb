-- ARGV[3], ARGV[4]: epoch and id up to which everything is said again by the items. ARGV[5]: 1 with the last of them,
-- with which the old ones go. The rest: items.
if ARGV[3] ~= epoch then
  return 0
end
for at = 6, #ARGV do
  redis.call('XADD', KEYS[2], '*', 'i', ARGV[at])
end
if ARGV[5] == '1' and is_after(ARGV[4], floor) then
  local time, number = parts(ARGV[4])
  remove_before(string.format('%.0f-%.0f', time, number + 1), ARGV[4])
end
return 1
