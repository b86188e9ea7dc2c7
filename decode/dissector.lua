
-- The rest is the same in all dissectors. It reads only bytes that a record has.

local made, proto = pcall(Proto, "rbtool", "BPF ring buffer record")
if not made then
  error("another dissector of rbtool is loaded: rbtool replay FILE... --dissector makes one for all captures", 0)
end
local ring_field = ProtoField.new("ring", "rbtool.ring", ftypes.STRING)
local type_field = ProtoField.new("type", "rbtool.type", ftypes.STRING)
local short = ProtoExpert.new("rbtool.short", "the record is shorter than its type",
  expert.group.MALFORMED, expert.severity.WARN)
local cut = ProtoExpert.new("rbtool.cut", "more values are not shown", expert.group.UNDECODED, expert.severity.NOTE)
local all = { ring_field, type_field }
for i, f in ipairs(fields) do
  fields[i] = ProtoField.new(f[2], f[1], ftypes[f[3]], enums[f[5]], base[f[4]])
  all[#all + 1] = fields[i]
end
proto.fields = all
proto.experts = { short, cut }
local interface = Field.new("frame.interface_name")
local data = Dissector.get("data")

local most_values = 4096 -- of a record
local most_info = 160    -- bytes

-- printable returns s without characters that control a terminal, which tshark prints as they are in columns.
local function printable(s)
  local function hex(c) return (c:gsub(".", function(b) return string.format("\\x%02x", b:byte()) end)) end
  s = s:gsub("[%z\1-\31\127]", hex):gsub("\194[\128-\159]", hex)
  return (s:gsub("\226\128[\142\143\168-\174]", hex):gsub("\226\129[\160-\175]", hex):gsub("\239\187\191", hex))
end

-- load returns the integer of it, which begins at byte at, as UInt64, or if it is signed as Int64.
local function load(tvb, it, at)
  local v
  if it.n == 9 then
    v = tvb:range(at, 8):le_uint64():rshift(it.s) + UInt64(tvb:range(at + 8, 1):uint()):lshift(64 - it.s)
  elseif it.be then
    v = tvb:range(at, it.n):uint64()
  else
    v = tvb:range(at, it.n):le_uint64():rshift(it.s or 0)
  end
  local above = 64 - (it.w or it.n * 8)
  if it.g then
    v = v:lshift(above)
    return Int64.new(v:lower(), v:higher()):arshift(above)
  end
  return v:lshift(above):rshift(above)
end

local function duration(v, unit)
  local s = v:tonumber() * unit
  for _, u in ipairs({ { 1, "s" }, { 1e-3, "ms" }, { 1e-6, "us" } }) do
    if math.abs(s) >= u[1] then return string.format("%.6g %s", s / u[1], u[2]) end
  end
  return string.format("%.6g ns", s * 1e9)
end

-- spaces returns the texts in s, each with a NUL after it, separated by spaces; nil if s has other bytes than text.
local function spaces(s)
  s = s:gsub("%z+$", "")
  if s:find("[\1-\8\11-\31\127]") then return nil end
  return (s:gsub("%z", " "))
end

-- show has a function for each kind of value: it adds the value of it at byte at to tree, and returns its text.
local show = {}

function show.num(r, tree, it, at)
  local v = load(r.tvb, it, at)
  local text = enums[it.e] and enums[it.e][v:tonumber()] or it.x and "0x" .. v:tohex() or tostring(v)
  local wide = it.b > 32
  local item = tree:add(fields[it.f], r.tvb:range(at, it.n), wide and v or v:tonumber())
  if it.u then
    text = duration(v, it.u)
    item:append_text(" (" .. text .. ")")
  end
  return text
end

function show.bool(r, tree, it, at)
  local v = load(r.tvb, it, at) ~= UInt64(0)
  tree:add(fields[it.f], r.tvb:range(at, it.n), v)
  return tostring(v)
end

function show.float(r, tree, it, at)
  local range = r.tvb:range(at, it.n)
  tree:add_le(fields[it.f], range)
  return tostring(range:le_float())
end

function show.hex(r, tree, it, at)
  local text = "0x"
  for i = at + it.n - 1, at, -1 do
    text = text .. string.format("%02x", r.tvb:range(i, 1):uint())
  end
  tree:add(fields[it.f], r.tvb:range(at, it.n), text)
  return text
end

function show.ip4(r, tree, it, at)
  local range = r.tvb:range(at, 4)
  if it.be then
    tree:add(fields[it.f], range)
    return tostring(range:ipv4())
  end
  tree:add_le(fields[it.f], range)
  return tostring(range:le_ipv4())
end

function show.ip6(r, tree, it, at)
  local tvb = r.tvb
  if it.f4 and tvb:range(at, 4):uint() ~= 0 and tvb:range(at + 4, 12):raw() == ("\0"):rep(12) then
    tree:add(fields[it.f4], tvb:range(at, 4))
    return tostring(tvb:range(at, 4):ipv4())
  end
  tree:add(fields[it.f], tvb:range(at, 16))
  return tostring(tvb:range(at, 16):ipv6())
end

function show.mac(r, tree, it, at)
  local range = r.tvb:range(at, 6)
  tree:add(fields[it.f], range)
  return tostring(range:ether())
end

-- left returns how many elements of it the record has.
local function left(r, it, at)
  local n = math.floor((r.len - at) / it.z)
  if it.c >= 0 and it.c < n then n = it.c end
  return n
end

function show.bytes(r, tree, it, at)
  local n = left(r, it, at)
  if n > 0 then tree:add(fields[it.f], r.tvb:range(at, n)) end
end

function show.str(r, tree, it, at, start)
  local n = left(r, it, at)
  if n <= 0 then return end
  local raw = r.tvb:range(at, n):raw()
  local stop = (raw:find("\0", 1, true) or n + 1) - 1
  local l = it.l
  if l and start + l.o + l.n <= r.len then
    local used = load(r.tvb, l, start + l.o):tonumber()
    local texts = used > stop + 1 and spaces(raw:sub(1, math.min(used, n)))
    if texts then
      tree:add(fields[it.f], r.tvb:range(at, math.min(used, n)), texts)
      return texts
    end
  end
  if stop == 0 then
    tree:add(fields[it.f], r.tvb:range(at, 1), "")
    return ""
  end
  local text = r.tvb:range(at, stop):string(ENC_UTF_8)
  tree:add(fields[it.f], r.tvb:range(at, stop), text)
  return text
end

local walk

function show.obj(r, tree, it, _, start)
  walk(r, tree:add(it.t), it.i, start)
end

function show.arr(r, tree, it, at)
  local n = left(r, it, at)
  if n <= 0 then return end
  local list = tree:add(it.t .. ": " .. n)
  for i = 0, n - 1 do
    if r.cut then return end
    walk(r, list, it.i, at + i * it.z)
  end
end

-- walk adds the values of items, whose offsets count from byte start, to tree.
function walk(r, tree, items, start)
  for _, it in ipairs(items) do
    local at = start + it.o
    if r.values >= most_values then
      r.cut = true
      return
    end
    if at + it.n <= r.len then
      r.values = r.values + 1
      local text = show[it.k](r, tree, it, at, start)
      if text and it.t and #r.info < most_info then
        r.info = r.info .. " " .. it.t .. "=" .. text:sub(1, most_info)
      end
    end
  end
end

-- tag returns the integer of n bytes at byte o as a key of tables, or nil if the record ends before it.
local function tag(tvb, o, n)
  if o + n > tvb:captured_len() then return nil end
  return tostring(tvb:range(o, n):le_uint64())
end

local function fits(case, tvb)
  local len = tvb:reported_len()
  if len < case.min or len > case.max then return false end
  for _, t in ipairs(case.tags) do
    local v = tag(tvb, t.o, t.n)
    if not v or not t.v[v] then return false end
  end
  return true
end

-- type_of returns the type of a record, or nil: that of the first case which the record fits, unless it fits a
-- rival of that case.
local function type_of(cases, tvb)
  for _, case in ipairs(cases) do
    if case.all then return types[case.type] end
    if fits(case, tvb) then
      for _, rival in ipairs(case.rivals) do
        if fits(cases[rival], tvb) then return nil end
      end
      return types[case.type]
    end
  end
end

-- find returns the type of a record of the named ring.
local function find(name, tvb)
  local known = false
  for _, ring in ipairs(rings) do
    if ring.names[name] then
      known = true
      local found = type_of(ring.cases, tvb)
      if found then return found end
    end
  end
  if known then return nil end
  for _, ring in ipairs(rings) do
    local found = type_of(ring.cases, tvb)
    if found then return found end
  end
end

function proto.dissector(tvb, pinfo, root)
  local name = interface()
  name = name and tostring(name.value) or ""
  pinfo.cols.protocol = "rbtool"
  local tree = root:add(proto, tvb())
  tree:add(ring_field, name):set_generated()
  local found = find(name, tvb)
  if not found then
    pinfo.cols.info:set(printable(name) .. ": " .. tvb:reported_len() .. " bytes of no known type")
    data:call(tvb, pinfo, root)
    return
  end
  tree:add(type_field, found.name):set_generated()
  tree:add(fields[found.f], tvb()):set_hidden()
  tree:append_text(", " .. found.name)
  local view = found.views[1]
  if found.tag then
    local v = tag(tvb, found.tag.o, found.tag.n)
    view = found.views[v and found.arms[v] or 1]
  end
  local r = { tvb = tvb, len = tvb:captured_len(), values = 0, info = found.name, cut = false }
  if tvb:reported_len() < view.least then
    tree:add_proto_expert_info(short)
    pinfo.cols.info:set(printable(found.name) .. ": " .. tvb:reported_len() .. " bytes, too short")
    data:call(tvb, pinfo, root)
    return
  end
  walk(r, tree, view.items, 0)
  if found.rest then walk(r, tree, { found.rest }, 0) end
  if r.cut then tree:add_proto_expert_info(cut) end
  pinfo.cols.info:set(printable(r.info))
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, proto)
