-- Reads a page of a pipeline's history: entries of its list, oldest first.
--
-- KEYS[1]  the list of entries, newest last     KEYS[2]  when the set of data began
-- ARGV[1]  where the page begins: 'newest', 'after' or 'next'
-- ARGV[2]  maximum entries of the window   ARGV[3]  maximum bytes of the window
-- ARGV[4]  maximum entries of the page     ARGV[5]  maximum bytes of the page, unless it is one entry
-- newest:  ARGV[6] how many entries        ARGV[7]... on these channels; on all when there are none
-- after:   ARGV[6] ms, ARGV[7] seq         the page begins with the last entry up to this id, if the window has it
-- next:    ARGV[6] ms, ARGV[7] seq         the page begins with the first entry after this id
--
-- Returns {the newest entry's id if the page ends before it, else '', when the set of data began, now, entries...}.
--
-- All indexes are negative, -1 being the newest entry, so that the script need not know the list's length.
local call, match, floor = redis.call, string.match, math.floor
local list, from = KEYS[1], ARGV[1]
local limit, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local page_entries, page_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])

-- Maximum entries in one LRANGE: each is copied, needed or not.
local MAX_AT_ONCE = 128

local now = now_ms()
local page = {'', string.format('%.0f', began(KEYS[2], now)), string.format('%.0f', now)}
local newest = call('LINDEX', list, -1)
if not newest then
  return page
end

-- The id of an entry's event, or the one that a deleted history left.
local function id(entry)
  local ms, seq = match(entry, '^%d+%-%d+\nid: (%d+)%-(%d+)\n')
  if not ms then
    ms, seq = match(entry, '^(%d+)%-(%d+)\n$')
  end
  return tonumber(ms), tonumber(seq)
end

-- How many entries to read at once when the last one had this many bytes.
local function step(bytes)
  return math.max(1, math.min(MAX_AT_ONCE, floor(page_bytes / bytes)))
end

-- The index of the first entry for which `holds` is true, as it is for all after it; 0 if there is none.
local function search(low, holds)
  local high = 0
  while low < high do
    local middle = floor((low + high) / 2)
    local entry = call('LINDEX', list, middle)
    if entry and holds(entry, middle) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local function is_after(entry)
  local after_ms, after_seq = tonumber(ARGV[6]), tonumber(ARGV[7])
  local ms, seq = id(entry)
  return ms and (ms > after_ms or ms == after_ms and seq > after_seq)
end

-- Walk from the newest entry back to where the page begins, at most to `oldest`.
local oldest, first = -limit, 0
local wanted, channels = math.huge, nil
if from == 'newest' and ARGV[7] then
  wanted, channels = tonumber(ARGV[6]), {}
  for i = 7, #ARGV do
    channels[ARGV[i]] = true
  end
elseif from == 'newest' then
  oldest = math.max(oldest, -ARGV[6])
else
  first = is_after(newest) and search(-limit, is_after) or 0
  oldest = math.max(oldest, first - 1)
end

local start, bytes = 0, 0
-- Entries walked over, in the order in which they were read, as long as they fit into a page.
local walked = {}
if from == 'next' then
  if first == 0 then
    return page
  end
  start, bytes = first, math.huge
else
  local entry_bytes, is_end = #newest, false
  while not is_end and wanted > 0 and start > oldest do
    local to = math.max(oldest, start - step(entry_bytes))
    local some = call('LRANGE', list, to, start - 1)
    -- Fewer than asked for: the list begins here.
    is_end = #some < start - to
    local from_here = #some + 1
    for i = #some, 1, -1 do
      local entry = some[i]
      -- As nodes count: without the first line.
      local frame_bytes = #entry - (string.find(entry, '\n', 1, true) or 0)
      if (start < 0 and bytes + frame_bytes > max_bytes) or wanted == 0 then
        is_end = true
        break
      end
      if channels and channels[match(entry, '^[^\n]*\nid: [^\n]*\nevent: ([^\n]*)\n')] then
        wanted = wanted - 1
      end
      bytes = bytes + frame_bytes
      entry_bytes = #entry
      start = start - 1
      from_here = i
    end
    if bytes <= page_bytes then
      walked[#walked + 1] = {some, from_here}
    end
  end
end

if start == 0 then
  return page
end
if bytes <= page_bytes and -start <= page_entries then
  for i = #walked, 1, -1 do
    local some, from_here = unpack(walked[i])
    for n = from_here, #some do
      page[#page + 1] = some[n]
    end
  end
  return page
end
walked = nil

-- Entries that do not lead up to the newest one without missing numbers were not written by the broker. A client that reads
-- all pages would find that out only later. Counting is enough to see it here.
local newest_ms, newest_seq = id(newest)
if not newest_seq then
  return page
end
local function leads_up(entry, index)
  local ms, seq = id(entry)
  return seq and newest_seq - seq == -1 - index
end
if from ~= 'next' and not leads_up(call('LINDEX', list, start), start) then
  start = search(start, leads_up)
end

-- The entry before the first one after an id is only for comparison; the page has one more.
local min_entries = (from == 'after' and start < first) and 2 or 1
local index, count = start, 0
local entry_bytes = page_bytes
bytes = 0
while index < 0 do
  local some = call('LRANGE', list, index, math.min(-1, index + step(entry_bytes) - 1))
  for i = 1, #some do
    local entry = some[i]
    if count >= min_entries and (count >= page_entries or bytes + #entry > page_bytes) then
      page[1] = string.format('%.0f-%.0f', newest_ms, newest_seq)
      return page
    end
    count = count + 1
    bytes = bytes + #entry
    entry_bytes = bytes / count
    page[#page + 1] = entry
  end
  index = index + #some
  if #some == 0 then
    break
  end
end
return page
