# Writes the parts of the page as C arrays: cmake -DOUT=page_bytes.c -DPARTS="a/page.html;..." -P embed.cmake
# The same bytes give the same file, wherever the tree is.
set(text "/* Made by server/ui/embed.cmake of the files in server/ui/page/. */\n#include \"page_bytes.h\"\n")
foreach(part ${PARTS})
  get_filename_component(name "${part}" EXT)
  string(REPLACE "." "" name "${name}")
  file(READ "${part}" bytes HEX)
  string(LENGTH "${bytes}" digits)
  math(EXPR len "${digits} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n    " bytes "${bytes}")
  string(APPEND text "\nconst unsigned char page_${name}[] = {\n    ${bytes}0};\nconst size_t page_${name}_len = ${len};\n")
endforeach()
file(WRITE "${OUT}" "${text}")
