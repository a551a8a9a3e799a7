# ruff: noqa: E501 - Lua, which nobody formats
"""What runs inside Redis, in Lua: one exchange is one script, by the server's clock.

`policy/book.py` says the same in Python, and the stores' suite holds both to it. All keys carry one hash tag:
they lie on one node of a cluster.

    {infctl}:meta        epoch, clock_s, buried_s, generation
    {infctl}:alive       worker -> seen_s
    {infctl}:w:WORKER    seq, answer, dead; kept a week
    {infctl}:v:WORKER    the rates and slots of which it holds something
    {infctl}:c:COUNTER   s:PERIOD settled, u: unknown, l: level, a: at_s, h: hunger, w:PERIOD:WORKER its lease
    {infctl}:counters    their names          {infctl}:hungry   PERIOD COUNTER -> until_s
    {infctl}:u:DAY       usage                {infctl}:keys, {infctl}:figures
    {infctl}:used        key's id -> when it was last used
    {infctl}:contributed the replicas that did, while there is no epoch
"""

from __future__ import annotations

from typing import Final

from gateway.policy.book import SHARE
from gateway.policy.exchange import DEAD_S, HUNGER_S

NO_EPOCH: Final = "NOEPOCH"
KEPT_S: Final = 7 * 86_400
COUNTER_KEPT_S: Final = 70 * 86_400
BURY_S: Final = 0.5

_COMMON: Final = f"""
local meta = KEYS[1]
local pre = string.sub(meta, 1, -5)
local DEAD_S, HUNGER_S, SHARE = {DEAD_S}, {HUNGER_S}, {SHARE}

local function whole(n) return string.format('%.0f', n) end
local function exact(n) return string.format('%.17g', n) end

local function clock_of(given)
  local clock = tonumber(given)
  if not clock then
    local time = redis.call('TIME')
    clock = tonumber(time[1]) + tonumber(time[2]) / 1e6
  end
  local last = tonumber(redis.call('HGET', meta, 'clock_s') or '0')
  if last > clock then return last end
  return clock
end

local function date_of(clock)
  local z = math.floor(clock / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return year, month, day
end

local function window_of(span, clock)
  local year, month, day = date_of(clock)
  local midnight = math.floor(clock / 86400) * 86400
  if span == 'day' then return string.format('%04d-%02d-%02d', year, month, day), midnight + 86400 end
  if span ~= 'month' then return '', 0 end
  local first = midnight - (day - 1) * 86400
  local _, _, over = date_of(first + 31 * 86400)
  return string.format('%04d-%02d', year, month), first + (31 - (over - 1)) * 86400
end

local function load(counter, period)
  local t = {{s = 0, u = 0, l = -1, a = 0, h = 0, leases = {{}}, fresh = true}}
  local all = redis.call('HGETALL', pre .. 'c:' .. counter)
  local mark = 'w:' .. period .. ':'
  for i = 1, #all, 2 do
    local field, value = all[i], all[i + 1]
    if string.sub(field, 1, #mark) == mark then
      local held, acked, hungry, till = string.match(value, '^(%S+) (%S+) (%S+) (%S+)$')
      t.leases[string.sub(field, #mark + 1)] =
        {{held = tonumber(held), acked = tonumber(acked), hungry = tonumber(hungry), till = tonumber(till)}}
    else
      local name = string.sub(field, 1, 1)
      if name ~= 'w' and string.sub(field, 3) == period then
        t[name] = tonumber(value)
        t.fresh = false
      end
    end
  end
  return t
end

local function save(counter, period, t, worker)
  local key, lease = pre .. 'c:' .. counter, t.leases[worker]
  redis.call('HSET', key, 's:' .. period, whole(t.s), 'u:' .. period, whole(t.u), 'l:' .. period, exact(t.l),
    'a:' .. period, exact(t.a), 'h:' .. period, whole(t.h))
  if lease then
    redis.call('HSET', key, 'w:' .. period .. ':' .. worker,
      whole(lease.held) .. ' ' .. whole(lease.acked) .. ' ' .. whole(lease.hungry) .. ' ' .. exact(lease.till))
    if period == '' then redis.call('SADD', pre .. 'v:' .. worker, counter) end
  end
  if t.fresh then
    redis.call('SADD', pre .. 'counters', counter)
    redis.call('EXPIRE', key, {COUNTER_KEPT_S})
  end
end

local function lease_of(t, worker)
  if not t.leases[worker] then t.leases[worker] = {{held = 0, acked = 0, hungry = 0, till = 0}} end
  return t.leases[worker]
end

local function leased(t)
  local sum = 0
  for _, lease in pairs(t.leases) do sum = sum + lease.held end
  return sum
end

local function wanted(worker, clock)
  local found = {{}}
  local hungry = redis.call('HGETALL', pre .. 'hungry')
  for i = 1, #hungry, 2 do
    if tonumber(hungry[i + 1]) > clock then
      local period, counter = string.match(hungry[i], '^(%S*) (.*)$')
      local t = load(counter, period)
      local own, most = t.leases[worker], 0
      if own and own.held > 0 then
        for name, lease in pairs(t.leases) do
          if name ~= worker and lease.till > clock and lease.hungry > most then most = lease.hungry end
        end
        if most > own.acked then
          found[#found + 1] = '[' .. cjson.encode(counter) .. ',' .. cjson.encode(period) .. ',' .. whole(most) .. ']'
        end
      end
    end
  end
  return '[' .. table.concat(found, ',') .. ']'
end
"""

EXCHANGE: Final = (
    _COMMON
    + f"""
local epoch = redis.call('HGET', meta, 'epoch')
if not epoch then return redis.error_reply('{NO_EPOCH} no epoch') end
local given = cjson.decode(ARGV[1])
local worker, seq, lines, uses, leaving = given[1], given[2], given[3], given[4], given[5]
local clock = clock_of(ARGV[2])
redis.call('HSET', meta, 'clock_s', exact(clock))
local mine = pre .. 'w:' .. worker
local known = redis.call('HMGET', mine, 'seq', 'answer', 'dead')
if known[1] and tonumber(known[1]) == seq then return {{known[2], epoch}} end

if clock - tonumber(redis.call('HGET', meta, 'buried_s') or '0') >= {BURY_S} then
  redis.call('HSET', meta, 'buried_s', exact(clock))
  local seen = redis.call('HGETALL', pre .. 'alive')
  for i = 1, #seen, 2 do
    if tonumber(seen[i + 1]) < clock - DEAD_S then
      local gone = seen[i]
      redis.call('HDEL', pre .. 'alive', gone)
      redis.call('HSET', pre .. 'w:' .. gone, 'dead', '1')
      for _, counter in ipairs(redis.call('SMEMBERS', pre .. 'v:' .. gone)) do
        redis.call('HDEL', pre .. 'c:' .. counter, 'w::' .. gone)
      end
      redis.call('DEL', pre .. 'v:' .. gone)
    end
  end
end
local dead = redis.call('HGET', mine, 'dead')
local revived = seq > 1 and (not dead or dead == '1')
if dead == '1' then revived = true end
local alive, count = {{[worker] = true}}, 1
for _, name in ipairs(redis.call('HKEYS', pre .. 'alive')) do
  if not alive[name] then alive[name] = true; count = count + 1 end
end

local function refill(t, amount, per_s)
  local most = amount - leased(t)
  if t.l < 0 then t.l = most else t.l = t.l + math.max(0, clock - t.a) * per_s end
  t.l = math.max(0, math.min(most, t.l))
  t.a = math.max(t.a, clock)
end

local function report(t, line)
  local kind, amount = line[2], line[4]
  if kind == 'rate' then refill(t, amount, line[5]) end
  local lease = lease_of(t, worker)
  local settled, unknown, returned, credit, claim, yielded = line[7], line[8], line[9], line[10], line[11], line[12]
  local gone = kind == 'slots' and returned or settled + returned
  lease.held = math.max(0, lease.held - gone)
  if claim >= 0 then lease.held = claim end
  lease.acked = math.max(lease.acked, yielded)
  if kind == 'quota' then
    t.s = t.s + settled
    t.u = t.u + unknown
  elseif kind == 'rate' then
    t.l = math.max(0, math.min(amount - leased(t), t.l + returned + credit))
  end
end

local function is_final(t, lease, place)
  if lease.hungry == 0 or lease.till <= clock then
    t.h = math.max(t.h + 1, math.floor(clock))
    lease.hungry = t.h
  end
  lease.till = clock + HUNGER_S
  for name, other in pairs(t.leases) do
    if name ~= worker and alive[name] and other.held > 0 and other.acked < lease.hungry then
      redis.call('HSET', pre .. 'hungry', place, exact(lease.till))
      return 'false'
    end
  end
  lease.hungry, lease.till = 0, 0
  return 'true'
end

local function grant(t, line, period, ends)
  local kind, amount, per_s, need, want = line[2], line[4], line[5], line[13], line[14]
  local free
  if kind == 'rate' then
    refill(t, amount, per_s)
    free = math.floor(t.l)
  elseif kind == 'slots' then free = amount - leased(t)
  else free = amount - t.s - leased(t) end
  local lease = lease_of(t, worker)
  local given, left, final, retry = 0, 0, 'false', 0
  if free < need then
    final = is_final(t, lease, period .. ' ' .. line[1])
    left = math.max(0, free)
    if kind == 'rate' then retry = (need - t.l) / per_s end
  else
    local others = false
    for name, other in pairs(t.leases) do
      if name ~= worker and other.till > clock and other.hungry > 0 then others = true end
    end
    local fair = others and 0 or math.floor(free / (SHARE * math.max(1, count)))
    given = math.max(need, math.min(want, fair))
    lease.held = lease.held + given
    lease.hungry = 0
    if kind == 'rate' then t.l = t.l - given end
    left = free - given
  end
  return '[' .. cjson.encode(line[1]) .. ',' .. cjson.encode(period) .. ',' .. whole(ends) .. ',' .. whole(given) ..
    ',' .. whole(left) .. ',' .. final .. ',' .. exact(retry) .. ']'
end

local function clean(counter, span)
  local old = window_of(span, math.max(0, clock - 3 * 86400))
  local gone = {{}}
  for _, field in ipairs(redis.call('HKEYS', pre .. 'c:' .. counter)) do
    local period = string.match(field, '^%a:([%d-]*)')
    if period and #period == #old and period < old then gone[#gone + 1] = field end
  end
  for i = 1, #gone, 100 do
    redis.call('HDEL', pre .. 'c:' .. counter, unpack(gone, i, math.min(i + 99, #gone)))
  end
end

local grants = {{}}
for _, line in ipairs(lines) do
  local counter, kind, span, period = line[1], line[2], line[3], line[6]
  if kind ~= 'quota' or period ~= '' then
    local t = load(counter, period)
    report(t, line)
    save(counter, period, t, worker)
  end
  if line[13] > 0 then
    local at, ends = window_of(span, clock)
    local t = load(counter, at)
    if t.fresh and at ~= '' then clean(counter, span) end
    grants[#grants + 1] = grant(t, line, at, ends)
    save(counter, at, t, worker)
  end
end

for _, use in ipairs(uses) do
  local key, who = pre .. 'u:' .. use[1], cjson.encode({{use[2], use[3]}})
  for i, name in ipairs({{'r', 'p', 'c', 'u'}}) do
    redis.call('HINCRBY', key, name .. who, whole(use[3 + i]))
  end
end

local hungry = redis.call('HGETALL', pre .. 'hungry')
for i = 1, #hungry, 2 do
  if tonumber(hungry[i + 1]) <= clock then redis.call('HDEL', pre .. 'hungry', hungry[i]) end
end

local answer = '[' .. whole(seq) .. ',' .. exact(clock) .. ',[' .. table.concat(grants, ',') .. '],' ..
  wanted(worker, clock) .. ',' .. whole(count) .. ',' .. (revived and 'true' or 'false') .. ']'
redis.call('HSET', mine, 'seq', whole(seq), 'answer', answer, 'dead', leaving and '1' or '0')
redis.call('EXPIRE', mine, {KEPT_S})
if leaving then redis.call('HDEL', pre .. 'alive', worker) else redis.call('HSET', pre .. 'alive', worker, exact(clock)) end
return {{answer, epoch}}
"""
)

WANTED: Final = (
    _COMMON
    + """
return wanted(ARGV[1], clock_of(ARGV[2]))
"""
)

OVERVIEW: Final = (
    _COMMON
    + f"""
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('{NO_EPOCH} no epoch') end
local prefix, clock, found = ARGV[1], clock_of(ARGV[2]), {{}}
local periods = {{'', (window_of('day', clock)), (window_of('month', clock))}}
for _, counter in ipairs(redis.call('SMEMBERS', pre .. 'counters')) do
  if string.sub(counter, 1, #prefix) == prefix then
    for _, period in ipairs(periods) do
      local t = load(counter, period)
      if not t.fresh then
        found[#found + 1] = '[' .. cjson.encode(counter) .. ',' .. cjson.encode(period) .. ',' .. whole(t.s) .. ',' ..
          whole(t.u) .. ',' .. whole(leased(t)) .. ',' .. exact(t.l) .. ',' .. exact(t.a) .. ']'
      end
    end
  end
end
return '[' .. table.concat(found, ',') .. ']'
"""
)

RESET: Final = (
    _COMMON
    + f"""
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('{NO_EPOCH} no epoch') end
local counter, clock = ARGV[1], clock_of(ARGV[2])
for _, period in ipairs({{'', (window_of('day', clock)), (window_of('month', clock))}}) do
  local t = load(counter, period)
  if not t.fresh then
    t.s, t.u, t.l = 0, 0, -1
    save(counter, period, t, '')
    for name in pairs(t.leases) do
      if redis.call('HEXISTS', pre .. 'alive', name) == 0 then
        redis.call('HDEL', pre .. 'c:' .. counter, 'w:' .. period .. ':' .. name)
      end
    end
  end
end
return 1
"""
)

CHANGE: Final = (
    _COMMON
    + f"""
if not redis.call('HGET', meta, 'epoch') then return redis.error_reply('{NO_EPOCH} no epoch') end
local given = cjson.decode(ARGV[1])
if tonumber(redis.call('HGET', meta, 'generation') or '0') ~= given[1] then return -1 end
for i, name in ipairs({{'figures', 'keys'}}) do
  for _, pair in ipairs(given[i + 1]) do
    if pair[2] == cjson.null then
      redis.call('HDEL', pre .. name, pair[1])
      if name == 'keys' then redis.call('HDEL', pre .. 'used', pair[1]) end
    else
      redis.call('HSET', pre .. name, pair[1], pair[2])
    end
  end
end
return redis.call('HINCRBY', meta, 'generation', 1)
"""
)

USED: Final = (
    _COMMON
    + """
for _, pair in ipairs(cjson.decode(ARGV[1])) do
  local last = tonumber(redis.call('HGET', pre .. 'used', pair[1]) or '0')
  if pair[2] > last then redis.call('HSET', pre .. 'used', pair[1], exact(pair[2])) end
end
return 1
"""
)

CONTRIBUTE: Final = (
    _COMMON
    + """
if redis.call('HGET', meta, 'epoch') then return 'open' end
local given = cjson.decode(ARGV[1])
local replica, replicas, epoch, rows, settings = given[1], given[2], given[3], given[4], given[5]
local set = pre .. 'contributed'
if redis.call('SISMEMBER', set, replica) == 0 then
  redis.call('SADD', set, replica)
  for _, row in ipairs(rows) do
    local counter, period, worker = row[1], row[2], row[3]
    local t = load(counter, period)
    t.s = t.s + row[4]
    local lease = lease_of(t, worker)
    lease.held = lease.held + row[5]
    save(counter, period, t, worker)
  end
  if settings[1] > tonumber(redis.call('HGET', meta, 'generation') or '-1') then
    redis.call('HSET', meta, 'generation', whole(settings[1]))
    for i, name in ipairs({'figures', 'keys'}) do
      redis.call('DEL', pre .. name)
      for _, pair in ipairs(settings[i + 1]) do redis.call('HSET', pre .. name, pair[1], pair[2]) end
    end
  end
end
local count = redis.call('SCARD', set)
if count >= replicas then
  redis.call('HSET', meta, 'epoch', epoch)
  redis.call('DEL', set)
  return 'open'
end
return whole(count)
"""
)
