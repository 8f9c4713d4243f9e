/// What a self-test reads when no text is given: prose, code, numbers and several scripts, written for this purpose. Short
/// windows of it make some tens of samples for any tokenizer.
enum SelfTestText {
  static let all = [prose, letters, code, numbers, german, french, spanish, russian, greek, eastern, dialogue, closing]
    .joined(separator: "\n\n")

  private static let prose = """
    The ferry left the harbour a little after six, when the lamps along the quay were still burning. There were eleven \
    passengers on board, most of them on their way to the market on the other side of the bay, and a boy who had been sent \
    to fetch a parcel for his aunt. The wind had turned during the night. It came now from the north, cold and steady, and \
    the small flags on the mast pointed straight at the hills. Nobody spoke much. A woman near the bow had opened a basket \
    and was counting eggs, slowly, touching each of them with one finger, and when she reached the end she began again.

    "You will lose count," said the man beside her.

    "I never do," she answered. "Forty-two. It was forty-two at home and it is forty-two here."

    The captain, who had made this journey twice a day for thirty years, did not look at the water at all. He looked at the \
    clock. If the clock was right, he used to say, then the water was right too. At twenty past six the first rocks came \
    into sight, black and wet, with white birds standing on them in a row as if they were waiting for somebody.

    A bridge would have been cheaper in the end. Every engineer who visited the town said so, drew a line across the map, \
    and went home again. The first plan needed nine piers, the second only four, and the third hung from two towers so tall \
    that people on the market square would have seen them over the roofs. None of them was built. The money went into a \
    school, a well, and a new road to the quarry; and when the road was finished, the quarry had closed. So the ferry \
    remained, and with it the clock, the captain, and the basket of eggs.
    """

  private static let letters = """
    Dear colleagues,

    thank you for the measurements of last week. We have compared them with our own and found three differences, which I \
    list here in the order of their size. First, your thermometer in the second room reads about half a degree more than \
    ours, in the morning as well as in the evening; it should be calibrated before the next series. Second, two of the \
    samples seem to have changed places: what you call B7 behaves like our B8, and the other way round. Third, the table on \
    page four ends in the middle of a line. Please send it again.

    If the swapped samples are the only fault, nothing has to be repeated. The result would then be the same as in spring, \
    within the error that we stated. If there is another reason, we would rather know it before the paper is printed than \
    after. I suggest that we talk on Thursday at ten.

    With kind regards, and greetings from everybody in the laboratory.
    """

  private static let code = """
    ```python
    def running_mean(values, width):
        \"\"\"Yields the mean of each window of `width` neighbours.\"\"\"
        if width < 1:
            raise ValueError(f"width is {width}, expected at least 1")
        total = 0.0
        for index, value in enumerate(values):
            total += value
            if index >= width:
                total -= values[index - width]
            if index + 1 >= width:
                yield total / width

    print(list(running_mean([1, 2, 3, 4, 5, 6], 3)))  # [2.0, 3.0, 4.0, 5.0]
    ```

    ```swift
    struct Interval: Hashable {
      let lower: Int
      let upper: Int

      func overlaps(_ other: Interval) -> Bool { lower < other.upper && other.lower < upper }
    }

    let all = [Interval(lower: 0, upper: 4), Interval(lower: 3, upper: 9), Interval(lower: 9, upper: 12)]
    for (left, right) in zip(all, all.dropFirst()) where left.overlaps(right) { print(left, right) }
    ```

    ```sql
    SELECT city, COUNT(*) AS visits, AVG(minutes) AS average
    FROM journeys WHERE started >= '2019-03-01' AND minutes BETWEEN 5 AND 240
    GROUP BY city HAVING COUNT(*) > 10 ORDER BY average DESC;
    ```

    {"name": "north", "depth": 12.75, "tags": ["cold", "deep"], "open": true, "parent": null}
    """

  private static let numbers = """
    The table lists, for each year, the height of the tide in centimetres and the number of days above the mark: 1987: 412, \
    17; 1988: 405, 12; 1989: 431, 26; 1990: 398, 9; 1991: 417, 19; 1992: 426, 23; 1993: 409, 14. The mean of the heights is \
    414 and their standard deviation 11.4. Three plus four is seven, seven plus eight is fifteen, fifteen plus sixteen is \
    thirty-one. 2 + 2 = 4; 12 × 12 = 144; 1/3 ≈ 0.3333; π ≈ 3.14159; 2^10 = 1,024; 0x1F = 31; 65,536 bytes are 64 KiB; \
    $19.99 plus 7 % makes $21.39. Room 3B, 14:05–15:45, +44 20 7946 0018, version 2.10.3-rc1, 192.0.2.17.
    """

  private static let german = """
    Als der Müller am Morgen das Tor öffnete, lag Schnee auf dem Rad. Er klopfte dreimal gegen das Holz, lauschte und \
    schüttelte den Kopf. „Heute wird nicht gemahlen“, sagte er zu seiner Tochter, „das Wasser schläft noch.“ Sie nahm den \
    Besen, kehrte die Stufen und zählte dabei die Krähen auf dem Dach: neun. Gestern waren es zehn gewesen.
    """

  private static let french = """
    L'été dernier, nous avons loué une maison près de la rivière. Le matin, on entendait les cloches du village et, plus \
    loin, le bruit d'un tracteur. Ma sœur préparait le café ; mon père lisait le journal à voix haute, même les petites \
    annonces. « Rien de nouveau », disait-il toujours à la fin, et il le pliait en quatre.
    """

  private static let spanish = """
    ¿Dónde está la llave? Ayer la dejé sobre la mesa, junto al pan y a la carta de mi hermano. El niño dice que la vio en el \
    jardín, pero el niño dice muchas cosas. Mañana vendrá el cerrajero; mientras tanto entraremos por la ventana.
    """

  private static let russian = """
    Поезд опоздал на сорок минут, и на платформе уже никого не было. Только сторож ходил вдоль путей и проверял фонари. \
    Он спросил, кого я жду, и посоветовал войти в дом: ночью будет мороз.
    """

  private static let greek = """
    Το καράβι έφτασε το πρωί με τριάντα επιβάτες και δύο γάτες. Ο καπετάνιος χαμογέλασε και έδεσε το σχοινί.
    """

  private static let eastern = """
    昨日は雨が降っていたので、私たちは家で本を読んでいました。夕方になると空が明るくなり、子供たちは庭に出ました。
    今天早上我去市场买了三斤苹果和一条鱼。卖鱼的人说，明天会刮大风，船不出海。
    오늘은 도서관이 일찍 문을 닫습니다. 책은 다음 주 월요일까지 돌려주세요.
    सुबह की पहली बस छह बजे चलती है और शहर तक पहुँचने में एक घंटा लगता है।
    كان البحر هادئا في ذلك الصباح، ولم يكن على الشاطئ سوى صياد واحد يصلح شبكته.
    הרכבת האחרונה יוצאת בחצות, ואחריה אין אוטובוסים עד הבוקר.
    """

  private static let dialogue = """
    Q: How many litres does the tank hold?
    A: About two hundred, if it is filled to the line.
    Q: And above the line?
    A: Above the line is air. The pump needs it.
    Q: Who told you that?
    A: The man who built the pump. 😀 He also said: never open the red valve first!
    - close the red valve
    - open the blue one, a quarter turn
    - wait until the needle stands between 3 and 4
    """

  private static let closing = """
    In the evening the ferry came back with nine passengers. Two had stayed on the other side, because the market had gone \
    on longer than usual and there was music. The woman with the basket had sold forty eggs and kept two for her supper. The \
    boy carried a parcel that was nearly as large as himself, wrapped in brown paper and tied with string, and he did not \
    let anybody help him. The captain looked at the clock, then, for once, at the water; and he nodded, as if the two of \
    them had agreed on something at last.
    """
}
