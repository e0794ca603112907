#!lua flags=allow-oom
-- Gives a client up, if this session still holds it. What stays: whose it is, and since when nobody holds it.
-- KEYS owner. ARGV client, session, when. Returns 1 when it was given up.
local owner = redis.call('HGET', KEYS[1], ARGV[1])
if not owner or #owner <= 25 or string.sub(owner, 9, 24) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.sub(owner, 1, 8) .. ARGV[3])
return 1
