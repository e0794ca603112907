-- Lets go of what lies before an id; returns how many bytes that was.
local function cut(stream, past)
  local bytes = 0
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '(' .. past .. '-0')) do
    bytes = bytes + #entry[2][2]
  end
  if bytes > 0 then
    redis.call('XTRIM', stream, 'MINID', past)
  end
  return bytes
end
