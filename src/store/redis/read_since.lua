-- ARGV[3], ARGV[4]: epoch and ID of the cursor, empty for the beginning. ARGV[5]: the most entries. ARGV[6]: the
-- largest entry in bytes. A larger one is not returned. ARGV[7]: after so many bytes no more entries are read.
local lost = lost_since(ARGV[3], ARGV[4])
local from = '-'
if ARGV[3] ~= '' and ARGV[4] ~= '' and not lost then
  from = '(' .. ARGV[4]
end
local entries, bytes, more = {}, 0, 1
while #entries < tonumber(ARGV[5]) and bytes < tonumber(ARGV[7]) do
  local found = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 20)
  for _, message in ipairs(found) do
    local id, fields = message[1], message[2]
    local text = #fields == 2 and fields[2] or ''
    for _, field in ipairs(fields) do
      bytes = bytes + #field
    end
    if #text > tonumber(ARGV[6]) then
      text = ''
    end
    entries[#entries + 1] = { id, text }
    from = '(' .. id
  end
  if #found < 20 then
    more = 0
    break
  end
end
return { epoch, lost and 1 or 0, redis.call('XLEN', KEYS[2]), more, now, entries }
