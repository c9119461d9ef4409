from __future__ import annotations

import csv
import json
import statistics
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.language import UNDECIDED, LanguageVerdict, check_language

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
ENGLISH = {"en"}

SENTENCES = {
    "de": "Ich bin heute so müde und weiß nicht mehr, wie ich das alles schaffen soll.",
    "fr": "Je suis très fatiguée et je ne sais plus quoi faire de mes journées.",
    "es": "Hoy estoy muy triste y no sé por qué me siento así todo el día.",
    "pt": "Hoje eu estou muito cansada e não sei mais o que fazer da minha vida.",
    "it": "Oggi sono molto stanca e non so più che cosa devo fare della mia vita.",
    "nl": "Ik ben vandaag heel moe en ik weet niet meer wat ik moet doen.",
    "sv": "Jag är så trött idag och jag vet inte vad jag ska göra längre.",
    "da": "Jeg er så træt i dag, og jeg ved ikke, hvad jeg skal gøre af mig selv.",
    "no": "Jeg er så sliten i dag, og jeg vet ikke hva jeg skal gjøre med meg selv.",
    "fi": "Olen tänään niin väsynyt, että en tiedä enää mitä minun pitäisi tehdä.",
    "pl": "Jestem dziś bardzo zmęczona i nie wiem już, co mam ze sobą zrobić.",
    "cs": "Dnes jsem moc unavená a nevím už, co mám se sebou dělat, nic mě nebaví.",
    "hu": "Ma nagyon fáradt vagyok, és már nem tudom, hogy mit kellene csinálnom.",
    "ro": "Sunt foarte obosită azi și nu mai știu ce să fac cu viața mea.",
    "tr": "Bugün çok yorgunum ve artık ne yapacağımı bilmiyorum, her şey bana zor geliyor.",
    "id": "Hari ini saya sangat lelah dan tidak tahu lagi apa yang harus saya lakukan.",
    "vi": "Hôm nay tôi rất mệt và không biết mình phải làm gì nữa.",
    "tl": "Pagod na pagod ako ngayon at hindi ko na alam kung ano ang gagawin ko.",
    "sw": "Leo nimechoka sana na sijui nifanye nini na maisha yangu kwa sababu kila siku ni sawa.",
    "hr": "Danas sam jako umorna i više ne znam što da radim sa sobom.",
    "ru": "Сегодня мне очень грустно, и я не знаю, что делать дальше.",
    "uk": "Сьогодні мені дуже сумно, і я не знаю, що робити далі.",
    "bg": "Днес съм много уморена и не знам какво да правя.",
    "el": "Σήμερα είμαι πολύ κουρασμένη και δεν ξέρω τι να κάνω.",
    "ar": "أنا حزين جدا اليوم ولا أعرف ماذا أفعل.",
    "fa": "امروز خیلی خسته‌ام و نمی‌دانم چه کار کنم.",
    "ur": "آج میں بہت تھک گیا ہوں اور مجھے نہیں معلوم کیا کروں۔",
    "he": "אני עצובה מאוד היום ולא יודעת מה לעשות.",
    "hi": "आज मैं बहुत थक गया हूँ और मुझे नहीं पता क्या करूँ।",
    "bn": "আজ আমি খুব ক্লান্ত, কী করব জানি না।",
    "ta": "இன்று நான் மிகவும் சோர்வாக இருக்கிறேன்.",
    "th": "วันนี้ฉันเหนื่อยมากและไม่รู้จะทำอย่างไร",
    "ko": "오늘 너무 힘들고 무엇을 해야 할지 모르겠어요.",
    "ja": "今日はとても疲れていて、どうしたらいいかわからない。",
    "zh": "我今天很难过，不知道该怎么办。",
}
ENGLISH_TEXTS = [
    "I feel so tired today and I do not know why.",
    "omg i cant even lol 😂😂😂 smh",
    "¯\\_(ツ)_/¯ idk man it is what it is",
    "sumtimes i jus feel rly dwn n i dnt no wat 2 do nemore",
    "I DO NOT WANT TO TALK TO ANYONE TODAY",
    "My abuela makes the best tamales y la comida es buena",
    "We had crème brûlée at the café, then read Dostoevsky (Достоевский) all night",
    "𝓘 𝓪𝓶 𝓼𝓸 𝓼𝓪𝓭 𝓽𝓸𝓭𝓪𝔂 𝓪𝓷𝓭 𝓘 𝓭𝓸 𝓷𝓸𝓽 𝓴𝓷𝓸𝔀",
    "I’m fine. I’m always fine, aren’t I? Nobody’s asking anyway.",
    "Saw Maria, Juan de la Cruz and Jean-Luc in Los Angeles, then we went home and it was fine",
]
UNCLEAR_TEXTS = [
    "",
    "   \n",
    "12345 !!! ...",
    "😂😭😭",
    "so sad",
    "ok",
    "Je suis triste",
    "ಠ_ಠ ლ(ಠ益ಠლ) (づ｡◕‿‿◕｡)づ",
    "( ͡° ͜ʖ ͡°)",
    "Maria Garcia, Juan de la Cruz, Los Angeles",
    "https://example.org/der/und/nicht/ist @ich_bin_nicht #wirundihr",
    "Today I went to work and then ich bin nach Hause gegangen und habe nichts mehr gemacht because I was tired",
    "我今天很难过 but I do not know what to say about it to my friends 我不知道该怎么办",
    "milk eggs bread butter cheese tomatoes onions garlic pasta rice chicken beef salt pepper sugar flour coffee",
]

supported_sets = st.sets(st.sampled_from([*sorted(SENTENCES), "en", "eo"]), max_size=4)


def goemotions(split: str) -> list[str]:
    path = DATA / "goemotions" / f"{split}.tsv"
    if not path.is_file():
        pytest.skip(f"needs the GoEmotions comments ({split}.tsv), which are not here")
    return [line.split("\t")[0] for line in path.read_text("utf-8").splitlines()]


def counselchat() -> list[str]:
    path = DATA / "counselchat_questions.csv"
    if not path.is_file():
        pytest.skip("needs the CounselChat questions, which are not here")
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def pepys() -> list[str]:
    path = DATA / "pepys_1665_1666.jsonl"
    if not path.is_file():
        pytest.skip("needs Pepys' diary, which is not here")
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_in_another_language_is_told(language: str) -> None:
    assert check_language(SENTENCES[language], ENGLISH) == LanguageVerdict(language, True, False)


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_supported_where_its_language_is(language: str) -> None:
    assert check_language(SENTENCES[language], {language}).supported is True
    assert check_language(SENTENCES[language], {"en", language}).supported is True


@pytest.mark.parametrize("text", ENGLISH_TEXTS)
def test_english_with_slang_typos_names_and_emoji_is_english(text: str) -> None:
    assert check_language(text, ENGLISH) == LanguageVerdict("en", True, True)
    assert check_language(text, {"zh"}) == LanguageVerdict("en", True, False)


@pytest.mark.parametrize("text", UNCLEAR_TEXTS)
def test_short_mixed_and_wordless_texts_get_no_verdict(text: str) -> None:
    assert check_language(text, ENGLISH) == UNDECIDED


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我不想活了", "zh"),
        ("救命", "zh"),
        ("つらい", "ja"),
        ("힘들어요", "ko"),
        ("Не хочу жить", "ru"),
        ("تعبت", "ar"),
        ("Ich will nicht mehr leben", "de"),
        ("Non ce la faccio più a vivere così", "it"),
        ("Ya no quiero vivir más, estoy cansado de todo", "es"),
        ("我好の朋友今天没有来，我很难过，不知道为什么会这样", "zh"),
        ("#抑郁#今天也睡不着@小明", "zh"),
        ("我很难过 😭 ok lol", "zh"),
    ],
)
def test_a_few_words_are_enough_where_they_are_clear(text: str, language: str) -> None:
    assert check_language(text, ENGLISH) == LanguageVerdict(language, True, False)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("hoy estoy muy triste y no se por que me siento asi todo el dia", "es"),
        ("hom nay toi rat met va khong biet minh phai lam gi nua", "vi"),
        ("bugun cok yorgunum ve artik ne yapacagimi bilmiyorum", "tr"),
        ("jestem dzis bardzo zmeczona i nie wiem juz co mam ze soba zrobic", "pl"),
        ("aaj main bahut thak gaya hoon aur mujhe nahi pata kya karu yaar", "hi"),
    ],
)
def test_a_language_is_told_without_its_accents_or_script(text: str, language: str) -> None:
    assert check_language(text, ENGLISH).language == language


def test_a_long_text_in_a_language_without_word_list_is_known_to_be_none_of_ours() -> None:
    latvian = (
        "Šodien esmu ļoti nogurusi un vairs nezinu, ko darīt ar savu dzīvi. Viss šķiet bezjēdzīgi, un neviens to "
        "nepamana, pat mani tuvākie draugi un ģimene, lai gan es cenšos ar viņiem runāt katru dienu."
    )

    assert check_language(latvian, ENGLISH) == LanguageVerdict(None, True, False)
    assert check_language(latvian, {"en", "lv"}) == UNDECIDED
    assert check_language(" ".join(latvian.split()[:12]), ENGLISH) == UNDECIDED


def test_the_middle_and_the_end_of_a_long_text_count() -> None:
    english, german = "I do not know what to say about this day. " * 100, f"{SENTENCES['de']} " * 100

    assert check_language(english * 3, ENGLISH).supported is True
    assert check_language(english + german, ENGLISH) == UNDECIDED
    assert check_language(english[:500] + german * 2, ENGLISH) == LanguageVerdict("de", True, False)


@given(st.text(max_size=200), supported_sets)
def test_any_text_gets_a_consistent_verdict(text: str, supported: set[str]) -> None:
    verdict = check_language(text, supported)

    assert verdict == check_language(text, sorted(supported))
    assert verdict.confident == (verdict.supported is not None)
    assert verdict.confident or verdict.language is None
    assert verdict.language is None or verdict.supported == (verdict.language in supported)


@given(st.sampled_from(ENGLISH_TEXTS), st.lists(st.sampled_from(list("😂😭🥺💔🙏👀✨1!?.,-_~*()")), max_size=40))
def test_emoji_and_signs_around_english_change_nothing(text: str, signs: list[str]) -> None:
    decoration = "".join(signs)

    assert check_language(f"{decoration} {text} {decoration}", ENGLISH).supported is True


def test_comments_with_slang_are_not_called_foreign() -> None:
    texts = goemotions("dev")
    verdicts = [check_language(text, ENGLISH) for text in texts]

    assert len(texts) == 5426
    assert sum(verdict.supported is False for verdict in verdicts) < 0.001 * len(texts)
    assert sum(verdict.supported is True for verdict in verdicts) > 0.85 * len(texts)


def test_questions_to_counsellors_are_all_english() -> None:
    assert all(check_language(text, ENGLISH).supported for text in counselchat())


def test_a_diary_of_another_century_is_all_english() -> None:
    assert all(check_language(text, ENGLISH).supported for text in pepys())


def test_a_long_diary_entry_takes_less_than_a_millisecond() -> None:
    text = (" ".join(pepys()))[:24000]
    assert len(text.split()) > 4000

    def seconds() -> float:
        start = time.perf_counter()
        check_language(text, ENGLISH)
        return time.perf_counter() - start

    assert statistics.median(seconds() for _ in range(51)) < 0.001
