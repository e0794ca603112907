#!lua
-- Takes in one folded batch of one partition, if nothing changed since it was folded. Refused as a whole before anything
-- is written: at the wrong place, with another holder than the one it was folded for, or when Redis is out of memory.
-- KEYS head, notified, seen, owner, waiting, floors, then one stream per client.
-- ARGV 1 applied as expected, 2 born as expected, 3 next, 4 fingerprint or '', 5 PUBLISH or SPUBLISH, 6 channel prefix,
--      7 notice prefix, 8 floor, 9 first id past the floor, 10 marks or '', 11 stream prefix, 12 number of clients,
--      13 number of trims, 14 most bytes that wait in the partition, then for each trim: which client, through, first id past that; then for each client: id, hands, seen,
--      number of chunks, (end, chunk)... Every argument costs: there are as few as can be.
-- Returns {0} done, {1, applied, born} moved, {2, {clients}} changed hands.
local head = redis.call('HMGET', KEYS[1], 'applied', 'born', 'floor', 'bytes', 'behind')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then
  return {1, head[1], head[2]}
end

local n = tonumber(ARGV[12])
local trims, at = {}, 15
for _ = 1, tonumber(ARGV[13]) do
  trims[tonumber(ARGV[at])] = at
  at = at + 3
end
local ids, base = {}, {}
for i = 1, n do
  ids[i] = ARGV[at]
  base[i] = at
  at = at + 4 + 2 * ARGV[at + 3]
end
local owners = {}
if n > 0 then
  owners = redis.call('HMGET', KEYS[4], unpack(ids))
  local turned = {}
  for i = 1, n do
    local hands = owners[i] and string.sub(owners[i], 1, 8) or '\0\0\0\0\0\0\0\0'
    if hands ~= ARGV[base[i] + 1] then
      turned[#turned + 1] = ids[i]
    end
  end
  if #turned > 0 then
    return {2, turned}
  end
end

-- Trimming comes before writing. A few clients at a time: the work of one call is bounded. Whoever raises the floor notes that there
-- may be something below it; the note goes with the last of it, and without one nobody has to look.
local bytes = 0
local moved, behind = tonumber(ARGV[8]) > tonumber(head[3]), ''
if moved or head[5] == '1' then
  if moved then
    redis.call('HSET', KEYS[1], 'floor', ARGV[8], 'behind', '1')
  end
  local trimmed, freed = cut_stale(KEYS[5], ARGV[11], ARGV[8], ARGV[9], 8)
  bytes = -freed
  if trimmed < 8 then
    behind = '0'
  end
end

local seen, queued, servers, told = {}, {}, {}, {}
for i = 1, n do
  local b = base[i]
  local client, stream, trim = ids[i], KEYS[6 + i], -1
  local t = trims[i]
  if t then
    trim = tonumber(ARGV[t + 1])
    bytes = bytes - cut(stream, ARGV[t + 2])
    local floor = redis.call('HGET', KEYS[6], client)
    if not floor or tonumber(floor) < trim then
      redis.call('HSET', KEYS[6], client, ARGV[t + 1])
    end
  end
  seen[2 * i - 1] = client
  seen[2 * i] = ARGV[b + 2]
  local chunks = tonumber(ARGV[b + 3])
  if chunks > 0 then
    local one
    if owners[i] and #owners[i] > 25 then
      local server = string.sub(owners[i], 26)
      one = told[server]
      if not one then
        -- What stands before the parts is known at the end. Put together once: Redis hashes every byte of every string.
        one = {last = 0, parts = {''}}
        told[server] = one
        servers[#servers + 1] = server
      end
    end
    for c = 1, chunks do
      local id, chunk = ARGV[b + 2 + 2 * c], ARGV[b + 3 + 2 * c]
      local place = tonumber(id)
      if place > trim then
        local added = redis.pcall('XADD', stream, id, 'c', chunk)
        -- An id that exists means applied already.
        if type(added) ~= 'table' or not added.err then
          bytes = bytes + #chunk
        elseif not string.find(added.err, 'equal or smaller', 1, true) then
          return added
        end
        if queued[#queued] ~= client then
          queued[#queued + 1] = id
          queued[#queued + 1] = client
        end
      end
      if one then
        local parts, last = one.parts, #one.parts
        parts[last + 1], parts[last + 2], parts[last + 3] = string.char(#client), client, chunk
        if place > one.last then
          one.last = place
          one.text = id
        end
      end
    end
  end
end
if n > 0 then
  redis.call('HSET', KEYS[3], unpack(seen))
end
if #queued > 0 then
  redis.call('ZADD', KEYS[5], 'NX', unpack(queued))
end
local waiting = tonumber(head[4] or '0') + bytes
local now = {'applied', ARGV[3], 'bytes', string.format('%.0f', waiting)}
for name, value in pairs({fp = ARGV[4], marks = ARGV[10], behind = behind}) do
  if value ~= '' then
    now[#now + 1] = name
    now[#now + 1] = value
  end
end
redis.call('HSET', KEYS[1], unpack(now))
for _, server in ipairs(servers) do
  local one = told[server]
  local previous = tonumber(redis.call('HGET', KEYS[2], server) or '0')
  redis.call('HSET', KEYS[2], server, one.text)
  one.parts[1] = ARGV[7] .. struct.pack('<I8I8', previous, one.last)
  redis.call(ARGV[5], ARGV[6] .. server, table.concat(one.parts))
end

-- Too much waits: the oldest go first, whosever they are, and their clients' floors say so. Last, and each step on its own:
-- a key that cannot be had (its slot is moving) leaves the rest of the work for the next batch.
local most, left = tonumber(ARGV[14]), waiting
for _ = 1, 2048 do
  if left <= most then
    break
  end
  local oldest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
  local client = oldest[1]
  if not client then
    left = 0
    break
  end
  local stream = ARGV[11] .. client
  local some = redis.pcall('XRANGE', stream, '-', '+', 'COUNT', 2)
  if some.err then
    break
  end
  local first = some[1] and string.match(some[1][1], '^%d+')
  if first and tonumber(first) > tonumber(oldest[2]) then
    -- What it is listed with was acknowledged.
    redis.call('ZADD', KEYS[5], 'XX', first, client)
  else
    if first then
      redis.call('XDEL', stream, some[1][1])
      left = left - #some[1][2][2]
      local floor = redis.call('HGET', KEYS[6], client)
      if not floor or tonumber(floor) < tonumber(first) then
        redis.call('HSET', KEYS[6], client, first)
      end
    end
    if some[2] then
      redis.call('ZADD', KEYS[5], 'XX', string.match(some[2][1], '^%d+'), client)
    else
      redis.call('DEL', stream)
      redis.call('ZREM', KEYS[5], client)
    end
  end
end
if left ~= waiting or left < 0 then
  redis.call('HSET', KEYS[1], 'bytes', string.format('%.0f', math.max(left, 0)))
end
return {0}
