//! The Lua scripts of the bus on Redis. The first argument is the prefix of all keys, except where a script uses `KEYS`;
//! answers are flat lists.

/// Appends events that were not published recently, because concurrent relays publish the same events. Arguments: now, how
/// long ids are kept, then channel, subject, id and body of each event. The id of an entry has the time of the caller's
/// clock, by which streams are trimmed. If the stream already has a later entry, or if the server is older than Redis 7, the
/// server chooses the id.
pub(super) const PUBLISH: &str = "local ids = ARGV[1]..'ids'
local function add(stream, ...)
  local added = redis.pcall('XADD', stream, ARGV[2]..'-*', ...)
  if type(added) == 'table' and added.err then redis.call('XADD', stream, '*', ...) end
end
redis.call('ZREMRANGEBYSCORE', ids, '-inf', ARGV[2] - ARGV[3])
for i = 4, #ARGV, 4 do
  if redis.call('ZADD', ids, 'NX', ARGV[2], ARGV[i + 2]) == 1 then
    add(ARGV[1]..'stream:'..ARGV[i], 'subject', ARGV[i + 1], 'id', ARGV[i + 2], 'body', ARGV[i + 3])
    redis.call('SADD', ARGV[1]..'channels', ARGV[i])
  end
end
return 1";

/// Takes or renews the lock `KEYS[1]`. Arguments: owner, now, until. Times are of the caller's clock, which a test may
/// move.
pub(super) const LOCK: &str = "local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] and tonumber(redis.call('HGET', KEYS[1], 'until')) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', ARGV[3])
return 1";

/// Releases the lock `KEYS[1]` if this owner holds it.
pub(super) const UNLOCK: &str =
    "if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";

/// Reads pending entries first, then new ones. Arguments: group, consumer, count, then the channels. The answer has six
/// items per entry: channel, entry id, subject, id, body and the record of failures.
pub(super) const CLAIM: &str = "local out, left = {}, tonumber(ARGV[4])
local retry = ARGV[1]..'retry:'..ARGV[2]
redis.call('SADD', ARGV[1]..'groups', ARGV[2])
local function take(channel, from)
  if left <= 0 then return end
  local stream = ARGV[1]..'stream:'..channel
  local function ask() return redis.pcall('XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', left, 'STREAMS', stream, from) end
  local got = ask()
  if got and got.err then
    redis.call('XGROUP', 'CREATE', stream, ARGV[2], '0', 'MKSTREAM')
    got = ask()
  end
  if not got or got.err then return end
  for _, entry in ipairs(got[1][2]) do
    if entry[2] then
      local fields = {}
      for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
      local known = redis.call('HGET', retry, channel..'|'..entry[1])
      for _, one in ipairs({channel, entry[1], fields.subject or '', fields.id or entry[1], fields.body or '', known or ''}) do
        out[#out + 1] = one
      end
      left = left - 1
    else
      redis.call('XACK', stream, ARGV[2], entry[1])
    end
  end
end
for i = 5, #ARGV do take(ARGV[i], '0') end
for i = 5, #ARGV do take(ARGV[i], '>') end
return out";

/// Acknowledges an entry. Arguments: group, channel, entry id. With two more, event id and dead letter, the dead letter is
/// stored first.
pub(super) const ACKNOWLEDGE: &str =
    "if ARGV[5] then redis.call('HSET', ARGV[1]..'dead:'..ARGV[2], ARGV[5], ARGV[6]) end
redis.call('XACK', ARGV[1]..'stream:'..ARGV[3], ARGV[2], ARGV[4])
redis.call('HDEL', ARGV[1]..'retry:'..ARGV[2], ARGV[3]..'|'..ARGV[4])
return 1";

/// Appends a dead letter as a new entry. Arguments: group, channel, subject, id, body. The inboxes of other groups already
/// contain the id.
pub(super) const REPLAY: &str = "if redis.call('HDEL', ARGV[1]..'dead:'..ARGV[2], ARGV[5]) == 0 then return 0 end
redis.call('XADD', ARGV[1]..'stream:'..ARGV[3], '*', 'subject', ARGV[4], 'id', ARGV[5], 'body', ARGV[6])
return 1";

/// The answer has five items per group and channel: group, channel, unread, pending, dead.
pub(super) const LAG: &str = "local out = {}
for _, channel in ipairs(redis.call('SMEMBERS', ARGV[1]..'channels')) do
  local groups = redis.pcall('XINFO', 'GROUPS', ARGV[1]..'stream:'..channel)
  if groups and not groups.err then
    for _, group in ipairs(groups) do
      local info = {}
      for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
      local dead = 0
      for _, letter in ipairs(redis.call('HVALS', ARGV[1]..'dead:'..info.name)) do
        if cjson.decode(letter).channel == channel then dead = dead + 1 end
      end
      local lag = info.lag
      if not lag then lag = #redis.call('XRANGE', ARGV[1]..'stream:'..channel, '('..info['last-delivered-id'], '+') end
      for _, one in ipairs({info.name, channel, lag, info.pending, dead}) do out[#out + 1] = one end
    end
  end
end
return out";

/// The answer has three items per dead letter: group, id, dead letter.
pub(super) const DEAD: &str = "local out = {}
for _, group in ipairs(redis.call('SMEMBERS', ARGV[1]..'groups')) do
  local letters = redis.call('HGETALL', ARGV[1]..'dead:'..group)
  for i = 1, #letters, 2 do
    for _, one in ipairs({group, letters[i], letters[i + 1]}) do out[#out + 1] = one end
  end
end
return out";

/// At most `ARGV[1]` entries of the stream `KEYS[1]`, newest first, beginning at `ARGV[2]`. The answer has two items per
/// entry: entry id, body.
pub(super) const HISTORY: &str = "local out = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], ARGV[2], '-', 'COUNT', ARGV[1])) do
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'body' then
      out[#out + 1] = entry[1]
      out[#out + 1] = entry[2][i + 1]
    end
  end
end
return out";

/// Deletes the entries of a channel that are older than a time and that no group needs. Arguments: channel, Unix
/// milliseconds.
pub(super) const TRIM: &str = "local stream = ARGV[1]..'stream:'..ARGV[2]
local function before(a, b)
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if tonumber(am) ~= tonumber(bm) then return tonumber(am) < tonumber(bm) end
  return tonumber(as) < tonumber(bs)
end
local keep = ARGV[3]..'-0'
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if groups.err then return 0 end
for _, group in ipairs(groups) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  local needed = info['last-delivered-id']
  local pending = redis.call('XPENDING', stream, info.name)
  if pending[1] > 0 and before(pending[2], needed) then needed = pending[2] end
  if before(needed, keep) then keep = needed end
end
return redis.call('XTRIM', stream, 'MINID', keep)";
