std = "lua54"
max_line_length = 80
include_files = { "lua", "spec", "examples", ".busted", ".luacheckrc" }
files["spec"] = { std = "+busted" }
