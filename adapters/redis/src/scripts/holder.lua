#!lua flags=no-writes
-- Everything about one client, at one instant.
-- KEYS head, claim, seen, floors, kept, owner, tenure. ARGV client. Returns {{applied, born, refilled from},
-- claim, seen, floor, kept, owner, tenure}.
return {
  redis.call('HMGET', KEYS[1], 'applied', 'born', 'refilled'),
  redis.call('HGET', KEYS[2], ARGV[1]),
  redis.call('HGET', KEYS[3], ARGV[1]),
  redis.call('HGET', KEYS[4], ARGV[1]),
  redis.call('HGET', KEYS[5], ARGV[1]),
  redis.call('HGET', KEYS[6], ARGV[1]),
  redis.call('HGET', KEYS[7], ARGV[1]),
}
