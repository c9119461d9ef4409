"""Which language a text is in, as far as that decides whether the model can read it.

Offline and deterministic: scripts by their characters, languages of the Latin script by their
commonest small words. It would rather not know than be wrong: a text that is short, mixed or
made of names gets no verdict, and slang, typos and emoji make English no less English.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

SLICE_CHARS: Final = 1000
"""Characters of each of the three slices (start, middle, end) that are read of a longer text."""

MIN_HITS: Final = 3
"""Different words of a language that a text must hold before it is said to be in it."""
MIN_RATE: Final = 0.2
"""Share of a text's words that must be common words of its language."""
MARGIN: Final = 2.0
"""How many times as many words a text must hold of its own language as of English, or the other way round."""
RELATED_MARGIN: Final = 1.2
"""The same between two other languages, which may share many words."""
UNKNOWN_WORDS: Final = 30
"""Different words from which on a text without common words of a known language is in another one."""
UNKNOWN_RATE: Final = 0.04
"""Share of common words up to which a text is not in a language."""
SCRIPT_SHARE: Final = 0.6
"""Share of a text's letters from which on one script decides."""
MIXED_SHARE: Final = 0.2
"""Share of letters outside the Latin script from which on the text counts as mixed."""
CJK_WEIGHT: Final = 3
"""Latin letters that one Chinese, Japanese or Korean character stands for."""


@dataclass(frozen=True)
class LanguageVerdict:
    """What is known about a text's language.

    Attributes:
        language: ISO 639-1 code; ``None`` where it is not known. Close relatives may be taken for
            one another (Malay for ``id``, Nepali for ``hi``, Macedonian for ``bg``).
        confident: whether there was enough to go by. Without it nothing is claimed.
        supported: whether the language is among those asked for; ``None`` without confidence. A
            text can be in none of them although nobody can say what it is in.
    """

    language: str | None
    confident: bool
    supported: bool | None


UNDECIDED: Final = LanguageVerdict(None, False, None)

# Runs only: a face such as ಠ_ಠ, (づ｡◕‿‿◕｡)づ or ¯\_(ツ)_/¯ uses single letters of many scripts.
_CJK: Final = {
    "hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "han_kana": "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ffff",
}
_ALPHABETS: Final = {
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "arabic": "\u0600-\u06ff\u0750-\u077f",
    "hebrew": "\u0590-\u05ff",
    "hi": "\u0900-\u097f",
    "bn": "\u0980-\u09ff",
    "pa": "\u0a00-\u0a7f",
    "gu": "\u0a80-\u0aff",
    "or": "\u0b00-\u0b7f",
    "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f",
    "kn": "\u0c80-\u0cff",
    "ml": "\u0d00-\u0d7f",
    "si": "\u0d80-\u0dff",
    "th": "\u0e00-\u0e7f",
    "lo": "\u0e80-\u0eff",
    "bo": "\u0f00-\u0fff",
    "my": "\u1000-\u109f",
    "ka": "\u10a0-\u10ff",
    "am": "\u1200-\u137f",
    "km": "\u1780-\u17ff",
    "hy": "\u0530-\u058f",
}
"""Characters of a script by its name, or by its language where one stands for the script."""

_FOREIGN: Final = re.compile(f"[{''.join([*_CJK.values(), *_ALPHABETS.values()])}]")
_RUNS: Final = re.compile(
    "|".join(
        [f"(?P<{name}>[{letters}]{{2,}})" for name, letters in _CJK.items()]
        + [f"(?P<{name}>[{letters}]{{3,}})" for name, letters in _ALPHABETS.items()]
    )
)
_KANA: Final = re.compile("[\u3040-\u30ff]")
_HAN_KANA: Final = re.compile(f"[{_CJK['han_kana']}]")
_NOISE: Final = ("@", "#", "://", "www.")
"""What marks an address, a name of an account or a tag: these are in no language."""
_LATIN_WORD: Final = re.compile("[a-z\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff]+")

# Letters that tell the languages of one script apart, tried in order; the last is the commonest.
_MARKERS: Final = {
    "cyrillic": (("be", "ў"), ("uk", "іїєґ"), ("sr", "ђћџљњј"), ("ru", "ыэё"), ("bg", "ъѓќѕ"), ("ru", "")),
    "greek": (("el", ""),),
    "arabic": (("ur", "ٹڈڑںے"), ("fa", "پچژگکی"), ("ar", "")),
    "hebrew": (("he", ""),),
    "hangul": (("ko", ""),),
}

_ENGLISH: Final = """
the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an
will my one all would there their what so up out if about who get which go me when make can like time no just him know
take people into year your good some could them see other than then now look only come its over think also back after
use two how our work first well way even new want because any these give day most us is was are were been being am had
has did does doing done im ive id dont didnt doesnt cant couldnt wouldnt isnt wasnt arent wont aint youre theyre thats
whats hes shes lets theres don didn doesn isn wasn aren couldn wouldn shouldn haven hasn hadn weren ll ve re should
may might must shall here where why while until before again still never always ever every everyone everything
something someone anything anyone nothing nobody own same too very much many more less few lot lots really right thing
things man men woman girl guy guys got getting going gonna wanna gotta went gone feel feeling feels felt need needs
let said says saying tell told keep made making makes down off through since without between both each such though yet
home life world school friend friends family mom mother dad father sleep tired sad happy angry love hate hope help
today tomorrow yesterday night morning week month years days old long little big great bad better best last next
another away around maybe please thanks thank sorry yeah yes okay ok lol lmao haha omg wow oh hey hi hello u ur pls
cuz bc tho idk shit fuck fucking damn hell dude bro sure mean point part place case hand end die war hat son sin pour
par plus under den van mine sale pan ten sam ben dan art fast kind rat gut
"""

_NAME_PARTS: Final = frozenset(
    {
        "al",
        "bin",
        "da",
        "das",
        "de",
        "del",
        "den",
        "der",
        "des",
        "di",
        "do",
        "dos",
        "du",
        "el",
        "la",
        "las",
        "le",
        "los",
        "san",
        "van",
        "von",
    }
)
"""Words that English texts hold as parts of names (Los Angeles, Juan de la Cruz), which say little by themselves."""

_WORDS: Final = {
    "de": """
        der die das und ist nicht ich du wir ihr sie mir mich dich dir uns ein eine einen einem einer mit auf für
        von zu dem den des im am auch aber wenn weil dass daß wie was habe hat haben hatte war bin bist sind sein
        wird werden kann noch nur schon sehr mehr immer nichts alles heute wieder keine kein mein meine meiner
        meinen nach bei aus vor über durch doch dann hier jetzt warum mal gar vom zum zur oder gibt es er
    """,
    "fr": """
        le la les des un une et est je tu il elle nous vous ils ne pas que qui dans pour sur avec ce cette ces mon
        ma mes son ses au aux du de plus mais ou où comme tout tous suis ai as avons avez ont était étais très
        bien rien jamais toujours aussi encore moi toi lui leur se sans fait faire être avoir peux veux trop
        depuis quand parce donc si même cela ça quelque chose vie
    """,
    "es": """
        el la los las un una es que de en no por para con se su sus mi mis me te lo le yo tú él ella nos pero más
        muy como cuando porque estoy está están soy eres son fue era siento tengo tiene hay nada todo todos
        siempre nunca ya también sin sobre entre hasta desde donde quien qué cómo hoy ayer mañana día puedo quiero
        hacer ser estar haber del al esto eso este esta solo vida
    """,
    "pt": """
        os as um uma que de em não por para com se seu sua meu minha meus minhas me te eu tu ele ela nós eles mas
        mais muito como quando porque estou está estão sou são foi era sinto tenho tem há nada tudo todos sempre
        nunca já também sem sobre entre até desde onde quem hoje ontem amanhã dia posso quero fazer ser estar do
        da dos das no na nos nas ao isso isto este esta só você pra vida nem
    """,
    "it": """
        il lo la gli le un una che di in non per con si mi ti ci ne io tu lui lei noi voi loro ma più molto come
        quando perché sono sei siamo era ho hai ha abbiamo hanno niente tutto tutti sempre mai già anche senza
        stato stata questo questa quello quella del della dei delle nel nella al alla dal dalla oggi ieri domani
        posso voglio fare essere così cosa mio mia miei solo ancora vita
    """,
    "nl": """
        de het een en is niet ik je jij hij zij wij we ze mij mijn me van in op te dat die dit met voor aan er
        maar om ook als bij nog wel naar dan zo wat heb hebt heeft hebben had was ben bent zijn wordt worden kan
        kunnen wil meer veel altijd niets niks alles iets vandaag weer geen heel erg omdat waarom hier nu toen
        door over uit zich moet zou gaan doen goed voel
    """,
    "sv": """
        och att det är jag inte en ett som på för med av den till har de du vi han hon mig dig sig oss min mitt
        mina din om men så kan ska skulle vill var från när hur vad varför alla allt något ingen inget ingenting
        bara mycket mer också eller här där nu idag igen alltid aldrig efter utan måste känner mår gör varit blir
        vara
    """,
    "da": """
        og at det er jeg ikke en et som på for med af den til har de du vi han hun mig dig sig os min mit mine din
        om men så kan skal skulle vil var fra når hvordan hvad hvorfor alle alt noget ingen intet kun bare meget
        mere også eller her der nu dag igen altid aldrig efter uden må føler været bliver blev være lige
    """,
    "no": """
        og at det er jeg ikke en et som på for med av den til har de du vi han hun meg deg seg oss min mitt mine
        din om men så kan skal skulle vil var fra når hvordan hva hvorfor alle alt noe ingen ingenting bare veldig
        mye mer også eller her der nå dag igjen alltid aldri etter uten må føler vært blir ble være gjøre
    """,
    "fi": """
        ja on ei en se että minä sinä hän me te he minun sinun hänen mutta olen olet olemme oli olin ovat ollut
        olla mitä mikä miten miksi kun kuin jos niin nyt vain myös enää vielä kaikki mitään jotain paljon hyvin
        todella tämä tää tänään aina koskaan minua minulla mulla mun mä sä oon eikä tai sitten jotta ole voi voin
    """,
    "pl": """
        nie na się jest to że do jak ale co mnie mi mam jestem ja ty on ona my dla po za tak już tylko jeszcze
        bardzo może od przez czy był była było być są ma go jej ich mój moja moje kiedy gdy bo więc nic wszystko
        zawsze nigdy dziś dzisiaj sobie siebie tego tym ten ta te czuję chcę mogę wiem też albo bez nawet
    """,
    "cs": """
        je se na že to do jsem jsi jsme jsou by byl byla bylo být ale jak co tak když protože už jen jako ještě
        moc velmi pro od po za při ani nebo mě mi mne můj moje má mám máš nic všechno vždy nikdy dnes kde proč
        cítím chci můžu nemůžu nevím není nejsem také taky ten ta tento sebe si
    """,
    "hu": """
        az és nem hogy egy is ez van volt vagyok én te mi ti ők de ha mert csak már még nagyon minden semmi mindig
        soha ma mit miért hogyan amikor mint meg el ki be fel le itt ott most engem nekem velem lesz lenne vannak
        sem vagy akkor pedig olyan így úgy kell lehet tudom érzem magam
    """,
    "ro": """
        și în de la cu nu este sunt ești eu tu el ea noi voi ei că să ce care pe pentru din mai dar dacă când cum
        unde foarte tot toate totul nimic niciodată mereu azi astăzi ieri am ai are avem au fost era fi mă te se
        mi îmi meu mea mei mele un fără după până doar așa acum simt vreau pot știu prea
    """,
    "tr": """
        ve bir bu da de ne için çok ama ben sen biz siz onlar bana beni benim seni değil var yok mi mı gibi daha
        kadar ile her şey hiç hep bugün şimdi neden nasıl çünkü olarak olan oldu oluyor ya ki sonra kendimi kendi
        artık sadece bile diye istiyorum hissediyorum bilmiyorum zaman
    """,
    "id": """
        yang dan di ke dari tidak ini itu dengan untuk saya aku kamu dia kami kita mereka ada adalah akan sudah
        belum bisa juga karena tapi tetapi pada dalam seperti lebih sangat hanya atau jika kalau apa kenapa
        bagaimana semua selalu hari harus ingin lagi banget gak nggak tak sama orang merasa jadi sekarang
    """,
    "vi": """
        tôi không là và của những được cho một có này đó với người trong khi đã sẽ đang các nhưng rất cũng vì như
        thì mà để lại ra nào gì sao mình em anh chị bạn hôm nay ngày tất cả luôn chỉ còn nữa đến từ về muốn biết
        thấy cảm buồn làm nên quá
    """,
    "tl": """
        ang ng sa mga na ay ako ka siya kami tayo sila ko mo niya namin natin nila hindi at para kung kasi dahil
        pero lang naman din rin ba po wala may mayroon ito iyon dito doon gusto ngayon araw lahat palagi talaga
        parang akong kong mong pa nang yung alam
    """,
    "sw": """
        na ya wa kwa ni la za katika kuwa sana lakini hii hiyo yangu wangu langu mimi wewe yeye sisi nina sina
        ninahisi najua sijui kila siku leo kama au pia tu hata bado sasa nini kwanini hakuna mtu watu cha vya
        nimekuwa kwamba ili yake wake
    """,
    "hr": """
        je se na da ne sam si su smo ste ja ti on ona mi što šta kako ali ako jer kad kada samo još već vrlo jako
        mnogo više nije nisam bio bila bilo biti ću će za od do sa iz po me mene meni moj moja moje ništa sve
        uvijek uvek nikad danas ili kao to ovo taj ta osjećam osećam mogu želim znam
    """,
    "hi": """
        hai hain nahi nahin mujhe kya aur mein bahut hoon hun tha thi kar raha rahi rahe ko ki ka ke bhi toh yeh
        woh mera meri mere tum aap hum kuch kyun kyu kaise koi sab abhi lekin par phir ho gaya gayi karna karta
        karti liye apne apna bas aaj
    """,
}
"""Common words by language, of the Latin script; ``hi`` is Hindi as it is typed in Latin letters."""


def check_language(text: str, supported: Collection[str]) -> LanguageVerdict:
    """Say whether ``text`` is in one of the languages that the model reads.

    Reads at most three slices of ``SLICE_CHARS`` characters, so that a long text costs no more than
    a short one.

    Args:
        text: any text.
        supported: ISO 639-1 codes.
    """
    sample = _drop_noise(unicodedata.normalize("NFKC", _sample(text)).lower())
    words = _LATIN_WORD.findall(sample)
    latin = sum(map(len, words))
    scripts = _count_scripts(sample)
    foreign = sum(scripts.values())
    if not foreign or foreign < MIXED_SHARE * (foreign + latin):
        return _judge_latin([word for word in words if len(word) > 1 or word in {"a", "i"}], supported)
    script, letters = max(scripts.items(), key=lambda entry: (entry[1], entry[0]))
    if letters < SCRIPT_SHARE * (foreign + latin):
        return UNDECIDED
    language = _language_of_script(script, sample)
    return LanguageVerdict(language, True, language in supported)


def _sample(text: str) -> str:
    if len(text) <= 3 * SLICE_CHARS:
        return text
    middle = (len(text) - SLICE_CHARS) // 2
    return "\n".join((text[:SLICE_CHARS], text[middle : middle + SLICE_CHARS], text[-SLICE_CHARS:]))


def _drop_noise(sample: str) -> str:
    if not any(mark in sample for mark in _NOISE):
        return sample
    # ASCII only: Chinese sets no spaces, so that one tag would take the text along.
    return " ".join(part for part in sample.split() if not part.isascii() or not any(mark in part for mark in _NOISE))


def _count_scripts(sample: str) -> Counter[str]:
    """Count the letters of each script but the Latin one, in the weight of Latin letters."""
    counts: Counter[str] = Counter()
    if _FOREIGN.search(sample):
        for run in _RUNS.finditer(sample):
            name = str(run.lastgroup)
            counts[name] += len(run.group()) * (CJK_WEIGHT if name in _CJK else 1)
    return counts


def _language_of_script(script: str, sample: str) -> str:
    if script == "han_kana":  # Chinese borrows a の now and then; a third of Japanese is kana
        return "ja" if len(_KANA.findall(sample)) * 10 >= len(_HAN_KANA.findall(sample)) else "zh"
    markers = _MARKERS.get(script, ((script, ""),))
    return next(language for language, letters in markers if not letters or any(mark in sample for mark in letters))


def _judge_latin(words: list[str], supported: Collection[str]) -> LanguageVerdict:
    """Decide by the common words of each language: their share, and how many different ones there are."""
    times = Counter(words)
    hits: Counter[str] = Counter()
    different: Counter[str] = Counter()
    for word, count in times.items():
        for language in _LANGUAGES_OF.get(word, ()):
            hits[language] += count
            different[language] += word not in _NAME_PARTS
    best = max(hits, key=lambda language: (hits[language], language), default="")
    if different[best] >= MIN_HITS and hits[best] >= MIN_RATE * len(words):
        return LanguageVerdict(best, True, best in supported) if _stands_out(best, hits, supported) else UNDECIDED
    if len(times) >= UNKNOWN_WORDS and _KNOWN.issuperset(supported):
        foreign = all(hits[language] <= UNKNOWN_RATE * len(words) for language in supported)
        return LanguageVerdict(None, True, False) if foreign else UNDECIDED
    return UNDECIDED


def _stands_out(best: str, hits: Counter[str], supported: Collection[str]) -> bool:
    """Tell whether no language that would change the answer comes near ``best``."""
    rivals = [other for other in hits if (other in supported) != (best in supported)]
    return all(hits[best] >= (MARGIN if "en" in (best, other) else RELATED_MARGIN) * hits[other] for other in rivals)


def _index_words() -> dict[str, tuple[str, ...]]:
    """Map each common word, also as typed without its accents, to its languages.

    A word that is English too, such as the German ``die`` or ``war``, counts as English alone.
    """
    english = set(_ENGLISH.split())
    index = {word: {"en"} for word in english}
    for language, words in _WORDS.items():
        for word in words.split():
            for spelling in {word, _strip_accents(word)} - english:
                index.setdefault(spelling, set()).add(language)
    return {word: tuple(sorted(languages)) for word, languages in index.items()}


def _strip_accents(word: str) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFKD", word) if not unicodedata.combining(char))
    return plain.translate(_UNDECOMPOSED)


_UNDECOMPOSED: Final[dict[int, str]] = {
    ord(char): plain for char, plain in {"ł": "l", "ø": "o", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae"}.items()
}
"""Letters whose plain form Unicode does not name."""
_LANGUAGES_OF: Final = _index_words()
_KNOWN: Final = frozenset(
    {"en", "zh", "ja", *_WORDS, *_ALPHABETS, *(code for row in _MARKERS.values() for code, _ in row)}
)
"""Languages of which it can be told that a text is not in them."""
