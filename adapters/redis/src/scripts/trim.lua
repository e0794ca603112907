#!lua flags=allow-oom
-- Raises the floor of a partition and trims some of the clients that have something below it.
-- KEYS head, waiting. ARGV floor, first id past it, stream prefix, most clients. Returns how many clients were trimmed.
local floor = redis.call('HGET', KEYS[1], 'floor')
if not floor then
  return 0
end
if tonumber(ARGV[1]) > tonumber(floor) then
  redis.call('HSET', KEYS[1], 'floor', ARGV[1], 'behind', '1')
end
local trimmed, freed = cut_stale(KEYS[2], ARGV[3], ARGV[1], ARGV[2], ARGV[4])
if freed > 0 and redis.call('HINCRBY', KEYS[1], 'bytes', -freed) < 0 then
  redis.call('HSET', KEYS[1], 'bytes', '0')
end
return trimmed
