#!lua
-- Gives a partition that has no memory a place to begin. Whoever comes second finds what the first one said.
-- KEYS head. ARGV applied, born, marks, '1' if there was a memory before it that was lost, or ''. Returns {applied, born, floor, marks}.
if redis.call('HEXISTS', KEYS[1], 'born') == 0 then
  redis.call('HSET', KEYS[1], 'applied', ARGV[1], 'floor', ARGV[1], 'born', ARGV[2], 'marks', ARGV[3])
  if ARGV[4] == '1' then
    redis.call('HSET', KEYS[1], 'refilled', ARGV[1])
  end
end
return redis.call('HMGET', KEYS[1], 'applied', 'born', 'floor', 'marks')
