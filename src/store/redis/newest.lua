-- Returns the newest event of each pipeline, and keeps their histories from expiring.
--
-- KEYS     the lists of frames, newest last
-- ARGV[1]  time to live of a list, ms    ARGV[2]  maximum entries of a list
--
-- Returns a line for each key: "event <id> <events kept>", "nothing <id>" when only a marker is left, "none" when there is no
-- list or its newest entry is not a frame, or "error <text>". No entry leaves the server: it may have 64 MiB.
local call, pcall, match, find = redis.call, redis.pcall, string.match, string.find
local ttl, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local renew_below = ttl / 3 * 2
local lines = {}
for i, key in ipairs(KEYS) do
  local newest = pcall('LINDEX', key, -1)
  if type(newest) == 'table' then
    lines[i] = 'error ' .. newest.err
  elseif not newest then
    lines[i] = 'none'
  else
    local id = match(newest, '^id: (%d+%-%d+)\n')
    if not id then
      lines[i] = 'none'
    elseif #newest == #id + 6 then
      lines[i] = 'nothing ' .. id
    else
      local events = call('LLEN', key)
      -- A deleted history leaves a marker, until the list is full.
      if events > 1 and events < limit and find(call('LINDEX', key, 0), '^id: %d+%-%d+\n\n$') then
        events = events - 1
      end
      lines[i] = 'event ' .. id .. ' ' .. events
    end
    -- A write, which also goes to replicas and the append-only file: only when a third of the time has passed.
    if call('PTTL', key) < renew_below then
      call('PEXPIRE', key, ttl)
    end
  end
end
return lines
