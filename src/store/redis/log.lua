-- KEYS[1]: the state of the log. KEYS[2]: the stream. ARGV[1]: the epoch of a new log. ARGV[2]: its TTL in seconds.
-- If stream or state are missing, the log was lost. `floor` is the last ID that was trimmed: a later entry that is
-- missing shows that Redis has an older state. `intact` is when a reader last found a loss.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local floor = redis.call('HGET', KEYS[1], 'floor')
local intact = tonumber(redis.call('HGET', KEYS[1], 'intact') or '0')
local has_stream = redis.call('EXISTS', KEYS[2]) == 1
if not epoch or not floor or not has_stream then
  epoch, floor = ARGV[1], '0-0'
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'floor', floor)
  if not has_stream then
    redis.call('XDEL', KEYS[2], redis.call('XADD', KEYS[2], '*', 'i', ''))
  end
end
if redis.call('TTL', KEYS[2]) * 2 < tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end

local function parts(id)
  local time, number = string.match(id, '^(%d+)%-(%d+)$')
  return tonumber(time), tonumber(number)
end

local function is_after(id, earlier)
  local time, number = parts(id)
  local earlier_time, earlier_number = parts(earlier)
  return time > earlier_time or (time == earlier_time and number > earlier_number)
end

local function remove_before(id, last_removed)
  redis.call('XTRIM', KEYS[2], 'MINID', id)
  if is_after(last_removed, floor) then
    redis.call('HSET', KEYS[1], 'floor', last_removed)
  end
end

-- Whether entries are missing that a reader at this cursor has read. Notes the loss.
local function lost_since(read_epoch, position)
  if read_epoch == '' then
    return false
  end
  if read_epoch == epoch then
    if position == '' or not is_after(position, floor) then
      return false
    end
    if #redis.call('XRANGE', KEYS[2], position, position) == 1 then
      return false
    end
  end
  intact = now
  redis.call('HSET', KEYS[1], 'intact', string.format('%.0f', now))
  return true
end
