-- KEYS[1]: the entry. ARGV[1]: now. ARGV[2]: this call's name. ARGV[3]: the largest entry.
-- An entry is 20 digits, the second in which it ends; 32 characters, the call that wrote it; the value.
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
