-- ARGV[3], ARGV[4]: epoch and ID of the cursor, empty for the beginning. ARGV[5]: the page size.
-- ARGV[6]: the largest entry in bytes. A larger one is not returned.
local from, lost = '-', 0
if ARGV[3] ~= '' and ARGV[3] ~= epoch then
  lost = 1
elseif ARGV[3] ~= '' and ARGV[4] ~= '' then
  if not is_after(ARGV[4], floor) or #redis.call('XRANGE', KEYS[2], ARGV[4], ARGV[4]) == 1 then
    from = '(' .. ARGV[4]
  else
    lost = 1
  end
end
local items = {}
for _, found in ipairs(redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[5])) do
  local item = #found[2] == 2 and found[2][2] or ''
  if #item > tonumber(ARGV[6]) then
    item = ''
  end
  items[#items + 1] = { found[1], item }
end
return { epoch, lost, redis.call('XLEN', KEYS[2]), items }
