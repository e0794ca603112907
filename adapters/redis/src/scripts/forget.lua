#!lua flags=allow-oom
-- Forgets a client that has been idle for longer than both logs remember, if nothing about it has changed meanwhile.
-- KEYS head, claim, owner, seen, floors, kept, waiting, stream, tenure. ARGV client, claims, owner, seen ('' for none each), floor.
-- Returns 1 when it was forgotten.
local client = ARGV[1]
for i = 2, 4 do
  if (redis.call('HGET', KEYS[i], client) or '') ~= ARGV[i] then
    return 0
  end
end
if redis.call('XLEN', KEYS[8]) > 0 then
  return 0
end
for i = 2, 6 do
  redis.call('HDEL', KEYS[i], client)
end
redis.call('HDEL', KEYS[9], client)
redis.call('DEL', KEYS[8])
redis.call('ZREM', KEYS[7], client)
-- Its own floor is forgotten with it, so the partition has to remember.
local floor = redis.call('HGET', KEYS[1], 'floor')
if floor and tonumber(floor) < tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], 'floor', ARGV[5], 'behind', '1')
end
return 1
