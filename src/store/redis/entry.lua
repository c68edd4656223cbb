-- KEYS[1]: the entry. ARGV[1]: now. ARGV[2]: the call ID. ARGV[3]: the largest entry in bytes.
-- An entry has 20 digits of its expiry time, 32 characters of the ID of the call that wrote it, and the value.
local entry = redis.call('GET', KEYS[1])
local ends, call, value
if entry then
  if #entry > tonumber(ARGV[3]) or #entry < 52 or not string.find(entry, '^' .. string.rep('%d', 20)) then
    return -1
  end
  ends, call, value = string.sub(entry, 1, 20), string.sub(entry, 21, 52), string.sub(entry, 53)
end
local lives = entry and ends > ARGV[1]
local again = entry and call == ARGV[2]
