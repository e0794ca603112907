#!lua flags=allow-oom
-- Takes what is damaged of a client for lost, if it still is what was read. What waited for it is left to the log.
-- KEYS head, claim, owner, seen, floors, waiting, stream. ARGV client, '1' when its claims are damaged, claims, '1' when what was
--      seen is damaged, seen. Returns 1 when something was lost.
local client, lost = ARGV[1], 0
if ARGV[2] == '1' and redis.call('HGET', KEYS[2], client) == ARGV[3] then
  -- Whose it is goes with its hands, or no batch would be in these hands any more.
  redis.call('HDEL', KEYS[2], client)
  redis.call('HDEL', KEYS[3], client)
  lost = 1
end
if ARGV[4] == '1' and redis.call('HGET', KEYS[4], client) == ARGV[5] then
  redis.call('HDEL', KEYS[4], client)
  lost = 1
end
if lost == 1 then
  local applied = redis.call('HGET', KEYS[1], 'applied')
  local floor = redis.call('HGET', KEYS[5], client)
  if applied and (not floor or tonumber(floor) < tonumber(applied)) then
    redis.call('HSET', KEYS[5], client, applied)
  end
  redis.call('DEL', KEYS[7])
  redis.call('ZREM', KEYS[6], client)
end
return lost
