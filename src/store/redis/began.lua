-- When this set of data began: since then Redis has lost none of it, except what expired.
--
-- Returns the moment, and whether it is kept.
--
-- One key of the installation has the moment and the server's replication id, which is another after each restart and each
-- failover. Without the key (a flush), or with another id, data may have been lost until now, and the key is written again.
-- A restart that lost nothing looks the same: Redis does not tell.
local function began(key, now)
  -- Without the permission, only a flush is noticed.
  local id = '0'
  if redis.acl_check_cmd('INFO', 'replication') then
    id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '0'
  end
  local kept = redis.pcall('GET', key)
  local ms, of = string.match(type(kept) == 'string' and kept or '', '^(%d+) (%x+)$')
  if ms and of == id then
    return tonumber(ms), true
  end
  -- Later than everything that was lost, and than a moment that a client may have been told.
  ms = math.max(now, tonumber(ms or 0)) + 1
  -- It fails where Redis refuses to write. Then the moment is a later one at each read.
  local answer = redis.pcall('SET', key, string.format('%.0f %s', ms, id))
  return ms, answer.ok ~= nil
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

