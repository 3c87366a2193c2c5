-- wrk: post the content of BODY_FILE as JSON, with another number in the place of each @@@@@@@@ in each request
local body = io.open(os.getenv("BODY_FILE")):read("*a")
local first, number = os.time() % 65536 * 65536, 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  number = number + 1
  local sent = body:gsub("@@@@@@@@", string.format("%08x", first + number))
  return wrk.format(nil, nil, nil, sent)
end
