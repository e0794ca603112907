#!lua
-- Writes a claim that was decided, if nothing it was decided on has changed.
-- KEYS head, claim, owner, seen, floors, kept, waiting, notified, stream, tenure, taken.
-- ARGV 1 applied as expected or '', 2 born as expected, 3 client, 4 revision as expected ('' for no claims), 5 claims,
--      6 owner, 7 server, 8 '1' when the client changes hands, 9 floor or '', 10 kept position or '', 11 tenure.
-- Returns {0, applied, former owner} done, {1} conflict.
local head = redis.call('HMGET', KEYS[1], 'applied', 'born')
if head[2] ~= ARGV[2] or (ARGV[1] ~= '' and head[1] ~= ARGV[1]) then
  return {1}
end
local client = ARGV[3]
local claims = redis.call('HGET', KEYS[2], client)
if (claims and string.sub(claims, 1, 9) or '') ~= ARGV[4] then
  return {1}
end
local former = redis.call('HGET', KEYS[3], client)
if ARGV[8] == '1' then
  local freed = 0
  for _, entry in ipairs(redis.call('XRANGE', KEYS[9], '-', '+')) do
    freed = freed + #entry[2][2]
  end
  if freed > 0 and redis.call('HINCRBY', KEYS[1], 'bytes', -freed) < 0 then
    redis.call('HSET', KEYS[1], 'bytes', '0')
  end
  redis.call('DEL', KEYS[9])
  redis.call('HDEL', KEYS[4], client)
  redis.call('HDEL', KEYS[6], client)
  redis.call('ZREM', KEYS[7], client)
end
if ARGV[9] ~= '' then
  local floor = redis.call('HGET', KEYS[5], client)
  if not floor or tonumber(floor) < tonumber(ARGV[9]) then
    redis.call('HSET', KEYS[5], client, ARGV[9])
  end
end
if ARGV[10] ~= '' then
  redis.call('HSETNX', KEYS[6], client, ARGV[10])
end
redis.call('HSET', KEYS[2], client, ARGV[5])
redis.call('HSET', KEYS[3], client, ARGV[6])
redis.call('HSET', KEYS[10], client, ARGV[11])
redis.call('HSETNX', KEYS[8], ARGV[7], '0')
if former and #former > 25 and string.sub(former, 26) ~= ARGV[7] then
  -- The word that it lost its client may be lost on its way to that server. This count is not.
  redis.call('HINCRBY', KEYS[11], string.sub(former, 26), 1)
end
return {0, tonumber(head[1]), former}
