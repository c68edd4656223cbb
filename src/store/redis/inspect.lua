-- KEYS[1]: a key that nobody else uses. Runs every command that the store needs, and leaves the key absent.
-- Returns the time in milliseconds, or -1, and the commands that failed, each followed by its error.
local failed = {}
local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply['err'] then
    failed[#failed + 1] = command
    failed[#failed + 1] = reply['err']
    return false
  end
  return reply
end
local time = try('TIME')
-- Without the right to remove the key, nothing is written.
if try('DEL', KEYS[1]) then
  try('SET', KEYS[1], '', 'EX', 1)
  for _, command in ipairs({ 'GET', 'EXISTS', 'TTL' }) do
    try(command, KEYS[1])
  end
  try('GETRANGE', KEYS[1], 0, 0)
  try('EXPIRE', KEYS[1], 1)
  try('DEL', KEYS[1])
  try('HSET', KEYS[1], 'field', '')
  try('HGET', KEYS[1], 'field')
  try('DEL', KEYS[1])
  try('XADD', KEYS[1], '1-1', 'field', '')
  try('XLEN', KEYS[1])
  try('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
  try('XTRIM', KEYS[1], 'MINID', '2-0')
  try('XDEL', KEYS[1], '1-1')
  try('DEL', KEYS[1])
end
local now = time and tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return { now or -1, failed }
