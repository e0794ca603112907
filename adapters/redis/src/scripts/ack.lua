#!lua flags=allow-oom
-- Takes acknowledgements of sessions that hold their clients; a stale session's word is ignored.
-- KEYS head, owner, floors, kept, waiting, then one stream per acknowledgement.
-- ARGV for each: client, session, position. Returns how many counted.
local applied = tonumber(redis.call('HGET', KEYS[1], 'applied') or '0')
local counted, freed = 0, 0
for i = 1, #ARGV / 3 do
  local client, session, position = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local owner = redis.call('HGET', KEYS[2], client)
  if owner and #owner > 25 and string.sub(owner, 9, 24) == session then
    counted = counted + 1
    if string.byte(owner, 25) == 1 then
      local kept = redis.call('HGET', KEYS[4], client)
      if not kept or tonumber(kept) < position then
        redis.call('HSET', KEYS[4], client, ARGV[3 * i])
      end
    end
    -- Nothing past `applied` is there to be trimmed, and a floor there would hide what is still to come.
    local through = math.min(position, applied)
    local stream = KEYS[5 + i]
    local bytes = cut(stream, string.format('%.0f', through + 1))
    if bytes > 0 then
      freed = freed + bytes
      local floor = redis.call('HGET', KEYS[3], client)
      if not floor or tonumber(floor) < through then
        redis.call('HSET', KEYS[3], client, string.format('%.0f', through))
      end
      if redis.call('XLEN', stream) == 0 then
        redis.call('DEL', stream)
        redis.call('ZREM', KEYS[5], client)
      end
    end
  end
end
if freed > 0 and redis.call('HINCRBY', KEYS[1], 'bytes', -freed) < 0 then
  redis.call('HSET', KEYS[1], 'bytes', '0')
end
return counted
