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
local stale = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[4])
local freed = 0
for _, client in ipairs(stale) do
  local stream = ARGV[3] .. client
  freed = freed + cut(stream, ARGV[2])
  if redis.call('XLEN', stream) == 0 then
    redis.call('DEL', stream)
    redis.call('ZREM', KEYS[2], client)
  else
    redis.call('ZADD', KEYS[2], 'XX', ARGV[2], client)
  end
end
if freed > 0 and redis.call('HINCRBY', KEYS[1], 'bytes', -freed) < 0 then
  redis.call('HSET', KEYS[1], 'bytes', '0')
end
return #stale
