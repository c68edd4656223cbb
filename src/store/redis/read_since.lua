-- ARGV[3], ARGV[4]: epoch and ID of the cursor, empty for the beginning. ARGV[5]: the most entries. ARGV[6]: the
-- largest entry in bytes. A larger one is not returned. ARGV[7]: after so many bytes no more entries are read.
local lost = lost_since(ARGV[3], ARGV[4])
local from = '-'
if ARGV[3] ~= '' and ARGV[4] ~= '' and not lost then
  from = '(' .. ARGV[4]
end
local items, bytes, more = {}, 0, 1
while #items < tonumber(ARGV[5]) and bytes < tonumber(ARGV[7]) do
  local found = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 20)
  for _, one in ipairs(found) do
    local item = #one[2] == 2 and one[2][2] or ''
    for _, field in ipairs(one[2]) do
      bytes = bytes + #field
    end
    if #item > tonumber(ARGV[6]) then
      item = ''
    end
    items[#items + 1] = { one[1], item }
    from = '(' .. one[1]
  end
  if #found < 20 then
    more = 0
    break
  end
end
return { epoch, lost and 1 or 0, redis.call('XLEN', KEYS[2]), more, now, items }
