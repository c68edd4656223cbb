-- Asks Doorward about a request by ForwardAuth, and changes or refuses the request. See haproxy.cfg.

local decisions = os.getenv("DOORWARD_DECISIONS")

-- Fields of the connection, and those that describe the request: the client's own are not passed on.
local not_passed = {}
for name in string.gmatch(
    "connection content-length expect host keep-alive proxy-connection te trailer transfer-encoding upgrade "
        .. "x-forwarded-host x-forwarded-method x-forwarded-proto x-forwarded-uri",
    "%S+"
) do
    not_passed[name] = true
end

-- Fields of a permission that are not for the app.
local not_set = {}
for name in string.gmatch(
    "cache-control connection content-length content-type date doorward-access-token doorward-refresh-token "
        .. "doorward-remove-headers dpop-nonce keep-alive referrer-policy set-cookie transfer-encoding vary "
        .. "x-content-type-options",
    "%S+"
) do
    not_set[name] = true
end

-- The values of a field as a list that begins at 1. HAProxy's begin at 0.
local function list(values)
    local result = {}
    local index = 0
    while values[index] ~= nil do
        table.insert(result, values[index])
        index = index + 1
    end
    return result
end

local function reply(txn, status, fields, body)
    local response = txn:reply({ status = status, body = body })
    for name, values in pairs(fields) do
        if not not_passed[name] and name ~= "date" then
            for _, value in ipairs(values) do
                response:add_header(name, value)
            end
        end
    end
    txn:done(response)
end

core.register_action("doorward_decide", { "http-req" }, function(txn)
    local headers = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not not_passed[name] then
            headers[name] = list(values)
        end
    end
    headers["x-forwarded-method"] = { txn.sf:method() }
    headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
    headers["x-forwarded-uri"] = { txn.sf:pathq() }

    local asked, answer = pcall(function()
        return core.httpclient():get({ url = decisions, headers = headers, timeout = 10000 })
    end)
    if not asked or answer == nil or answer.status == 0 then
        return reply(txn, 503, { ["cache-control"] = { "no-store" }, ["retry-after"] = { "1" } }, "")
    end

    local fields = {}
    for name, values in pairs(answer.headers or {}) do
        fields[string.lower(name)] = list(values)
    end
    if answer.status ~= 200 then
        local status = answer.status
        if status < 300 then
            status = 403
        end
        return reply(txn, status, fields, answer.body or "")
    end

    -- The app gets no cookie of Doorward, also if the client has no others.
    txn.http:req_del_header("cookie")
    for _, names in ipairs(fields["doorward-remove-headers"] or {}) do
        for name in string.gmatch(names, "[^, ]+") do
            txn.http:req_del_header(name)
        end
    end
    for name, values in pairs(fields) do
        local number = string.match(name, "^doorward%-set%-cookie%-(%d+)$")
        if number ~= nil then
            txn:set_var("txn.doorward_cookie_" .. number, values[1])
        elseif not not_set[name] then
            txn.http:req_del_header(name)
            for _, value in ipairs(values) do
                txn.http:req_add_header(name, value)
            end
        end
    end
end)
