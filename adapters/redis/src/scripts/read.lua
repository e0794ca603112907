#!lua flags=no-writes
-- One page of a client's mailbox.
-- KEYS head, floors, claim, stream. ARGV client, position, first id past it, most chunks, most bytes.
-- Returns {0} no memory, {1, floor}, {2, which memory, applied, claims, 1 if there is more, chunk...}.
local head = redis.call('HMGET', KEYS[1], 'applied', 'floor', 'born')
if not head[2] then
  return {0}
end
local floor = head[2]
local own = redis.call('HGET', KEYS[2], ARGV[1])
if own and tonumber(own) > tonumber(floor) then
  floor = own
end
if tonumber(ARGV[2]) < tonumber(floor) then
  return {1, floor}
end
local answer = {2, head[3], head[1], redis.call('HGET', KEYS[3], ARGV[1]), 0}
local most = tonumber(ARGV[4])
local chunks, bytes, at = 0, 0, ARGV[3]
while true do
  -- One more than is wanted: whether there is more.
  local count = math.min(8, most - chunks + 1)
  local some = redis.call('XRANGE', KEYS[4], at, '+', 'COUNT', count)
  for _, entry in ipairs(some) do
    if chunks > 0 and (chunks >= most or bytes >= tonumber(ARGV[5])) then
      answer[5] = 1
      return answer
    end
    local chunk = entry[2][2]
    answer[#answer + 1] = chunk
    chunks = chunks + 1
    bytes = bytes + #chunk
    at = '(' .. entry[1]
  end
  if #some < count then
    return answer
  end
end
