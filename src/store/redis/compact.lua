-- ARGV[3], ARGV[4]: epoch and ID up to which the new entries replace the old ones. ARGV[5]: 1 with the last part,
-- which removes the old entries. The rest: entries.
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
