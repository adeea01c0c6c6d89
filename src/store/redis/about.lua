-- The ids at both ends of a pipeline's history.
--
-- KEYS[1]  the list of entries, newest last     ARGV[1]  maximum entries kept
--
-- Returns {the oldest event's id, the newest event's id}, each '' if that entry was not written by the broker. {the last id} when
-- the history was deleted, an empty table when there is no list.
local newest = redis.call('LINDEX', KEYS[1], -1)
if not newest then
  return {}
end
local deleted = string.match(newest, '^(%d+%-%d+)\n$')
if deleted then
  return {deleted}
end
local oldest = redis.call('LINDEX', KEYS[1], -ARGV[1]) or redis.call('LINDEX', KEYS[1], 0)
local function id(entry)
  return string.match(entry, '^%d+%-%d+\nid: (%d+%-%d+)\n') or ''
end
return {id(oldest), id(newest)}
