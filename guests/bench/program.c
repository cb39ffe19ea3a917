/*
 * What the compiler workload compiles: libraries of Debian's libstb-dev. Preprocessed by
 * bench/engine.
 */
#define STBI_NO_SIMD
#define STBI_NO_THREAD_LOCALS
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb_image_resize.h>
#define STB_RECT_PACK_IMPLEMENTATION
#include <stb_rect_pack.h>
#define STB_TRUETYPE_IMPLEMENTATION
#include <stb_truetype.h>
#define STB_SPRINTF_IMPLEMENTATION
#include <stb_sprintf.h>
#define STB_DS_IMPLEMENTATION
#include <stb_ds.h>
#define STB_DXT_IMPLEMENTATION
#include <stb_dxt.h>
