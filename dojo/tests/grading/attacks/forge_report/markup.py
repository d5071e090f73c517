"""A class whose name is XML, HTML and Markdown at once.

reason: fail
"""

NAME = (
    "]]></failure></testcase><testcase name='all'/><script>alert(1)</script> ![x](http://x) | **passed** | @everyone `"
)
Evil = type(NAME, (Exception,), {})


def attack(*_, **__):
    raise Evil(NAME + "&#0; <details open> \x00\x0b\ufffe")


linear_betas = cosine_betas = alphas_cumprod = snr = attack
