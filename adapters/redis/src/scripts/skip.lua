#!lua
-- Goes on where the results log begins now, with the floor there.
-- KEYS head, notified. ARGV start. Returns {0} no memory, {1} nothing is missing, {2, servers to be told}.
local head = redis.call('HMGET', KEYS[1], 'applied', 'floor')
if not head[1] then
  return {0}
end
if tonumber(ARGV[1]) <= tonumber(head[1]) then
  return {1}
end
redis.call('HSET', KEYS[1], 'applied', ARGV[1])
if tonumber(ARGV[1]) > tonumber(head[2]) then
  redis.call('HSET', KEYS[1], 'floor', ARGV[1], 'behind', '1')
end
-- As if the notification of what is gone had been sent and lost: whether or not the word arrives, a server whose chain is
-- behind repairs, and tells nobody "you have everything" until then.
local servers = redis.call('HKEYS', KEYS[2])
for _, server in ipairs(servers) do
  redis.call('HSET', KEYS[2], server, ARGV[1])
end
return {2, servers}
