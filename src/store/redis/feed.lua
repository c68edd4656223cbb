-- KEYS[1]: what is known of the feed. KEYS[2]: the feed, a stream. ARGV[1]: a new epoch, should one be needed.
-- ARGV[2]: for how many seconds the feed is kept when nobody uses it.
-- A feed that is gone, or of which nothing is known, has lost its memory. `floor` is the last id that was removed on
-- purpose: what is missing beyond it is missing because Redis came back with an older state.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local floor = redis.call('HGET', KEYS[1], 'floor')
local there = redis.call('EXISTS', KEYS[2]) == 1
if not epoch or not floor or not there then
  epoch, floor = ARGV[1], '0-0'
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'floor', floor)
  if not there then
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

local function is_after(one, other)
  local time, number = parts(one)
  local other_time, other_number = parts(other)
  return time > other_time or (time == other_time and number > other_number)
end

local function remove_before(id, last_removed)
  redis.call('XTRIM', KEYS[2], 'MINID', id)
  if is_after(last_removed, floor) then
    redis.call('HSET', KEYS[1], 'floor', last_removed)
  end
end
