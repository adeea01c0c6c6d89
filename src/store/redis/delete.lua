-- Deletes a pipeline's history. The newest id stays, so that ids continue from there.
--
-- KEYS[1]  the list of entries
-- ARGV[1]  time to live of what stays, ms    ARGV[2]  channel to notify on
local newest = redis.call('LINDEX', KEYS[1], -1)
if not newest then
  return 0
end
-- Nothing may fail after the first write.
for _, command in ipairs({{'DEL', KEYS[1]}, {'RPUSH', KEYS[1], ''}, {'PEXPIRE', KEYS[1], 1}, {'PUBLISH', ARGV[2], ''}}) do
  if not redis.acl_check_cmd(unpack(command)) then
    error({err = 'NOPERM the user of this node lacks permission to run ' .. command[1]})
  end
end
redis.call('DEL', KEYS[1])
local id = string.match(newest, '^%d+%-%d+\nid: (%d+%-%d+)\n') or string.match(newest, '^(%d+%-%d+)\n$')
if id then
  redis.call('RPUSH', KEYS[1], id .. '\n')
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
else
  id = '0-0'
end
-- A notification without events makes nodes read the list.
redis.call('PUBLISH', ARGV[2], id .. '\n')
return 1
