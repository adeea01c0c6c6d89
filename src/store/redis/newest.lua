-- Tells the newest of each pipeline, and keeps their histories from expiring.
--
-- KEYS     the lists of frames, newest last
-- ARGV[1]  time to live of a list, ms    ARGV[2]  most entries that a list has
--
-- Returns a line for each key: "event <id> <events kept>", "nothing <id>" when what is left is a marker, "none" for no list
-- or an entry that is no frame, or "error <text>". No entry leaves the server: it may have 64 MiB.
local call, pcall, match, find = redis.call, redis.pcall, string.match, string.find
local ttl, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local least = ttl / 3 * 2
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
      -- What was forgotten leaves a marker, until the list is full.
      if events > 1 and events < limit and find(call('LINDEX', key, 0), '^id: %d+%-%d+\n\n$') then
        events = events - 1
      end
      lines[i] = 'event ' .. id .. ' ' .. events
    end
    -- Written for a replica and the append-only file too: only when a third has gone.
    if call('PTTL', key) < least then
      call('PEXPIRE', key, ttl)
    end
  end
end
return lines
