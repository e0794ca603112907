#!lua flags=no-writes
-- What a router must know before it folds a batch. One instant: a fold of one holder never meets the claims of another.
-- KEYS head, seen, claim. ARGV clients. Returns {{applied, born, floor, marks}, {seen...}, {claim...}}.
local head = redis.call('HMGET', KEYS[1], 'applied', 'born', 'floor', 'marks')
if #ARGV == 0 then
  return {head, {}, {}}
end
return {head, redis.call('HMGET', KEYS[2], unpack(ARGV)), redis.call('HMGET', KEYS[3], unpack(ARGV))}
