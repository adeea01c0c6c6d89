-- The ids at both ends of a pipeline's history.
--
-- KEYS[1]  the list of frames, newest last     ARGV[1]  maximum frames kept
--
-- Returns {the first line of the oldest entry kept, of the newest}; an empty table when there is no list.
local newest = redis.call('LINDEX', KEYS[1], -1)
if not newest then
  return {}
end
local oldest = redis.call('LINDEX', KEYS[1], -ARGV[1]) or redis.call('LINDEX', KEYS[1], 0)
local function first_lines(entry)
  -- A marker is its first line and a blank one.
  return string.match(entry, '^id: [^\n]*\n\n?') or ''
end
return {first_lines(oldest), first_lines(newest)}
