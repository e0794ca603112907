-- Lets go of what lies below a floor, of so many clients at most; returns how many of them there were, and how many bytes that was.
local function cut_stale(waiting, streams, floor, past, most)
  local stale, bytes = redis.call('ZRANGE', waiting, '-inf', floor, 'BYSCORE', 'LIMIT', 0, most), 0
  for _, client in ipairs(stale) do
    local stream = streams .. client
    bytes = bytes + cut(stream, past)
    if redis.call('XLEN', stream) == 0 then
      redis.call('DEL', stream)
      redis.call('ZREM', waiting, client)
    else
      redis.call('ZADD', waiting, 'XX', past, client)
    end
  end
  return #stale, bytes
end
